// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <entrain/compress/compress.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>

#include "../trainer/models.hpp"
#include "trainers.hpp"

// Compressors that ask more of a trainer than to carry sums: blocks that rest, momentum, several communications, other compressors for
// other blocks or steps. What the device's trainer learns with them is what the host's learns.

using namespace entrain;
using namespace entrain::compress;

namespace {

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7, 8, 5}, .outputs = 3};
const test::clusters samples{.samples = 29};

template <class Optimizer, class C, class Engine>
test::outcome train(int ranks, const Optimizer& optimizer, const C& c, const Engine& engine) {
  return test::train(ranks, perceptron, samples, 8, 8, optimizer, parallel::data{.bucket_bytes = 200}, c, engine);
}
template <class Optimizer, class C>
void check(const Optimizer& optimizer, const C& c) {
  for (const int ranks : {1, 3}) {
    CAPTURE(ranks, entrain::describe(c));
    test::check_same(train(ranks, optimizer, c, engine::cuda{}), train(ranks, optimizer, c, engine::host{}), 1e-4);
  }
}

const optim::sgd plain{.learning_rate = 0.05};
const optim::sgd heavy{.learning_rate = 0.02, .momentum = 0.9, .weight_decay = 0.1};

}  // namespace

TEST_CASE("blocks that are not drawn rest on the device, too", "[device][compress]") {
  check(heavy, jointspar{.share = 0.5});
  check(optim::clipped{optim::lars{}, 0.1}, jointspar{.share = 0.5});
  check(optim::lamb{.learning_rate = 0.01, .weight_decay = 0.1}, per_layer{rule{jointspar{.share = 0.5}, {.matrices = true}}, none{}});

  trainer run{perceptron, heavy, engine::cuda{}, jointspar{.share = 0.5}};
  const auto layout = run.replica().layout();
  labelled_batch batch;
  const std::vector<std::uint64_t> some{0, 1, 2, 3};
  samples.fill(some, batch);
  int rested = 0, moved = 0;
  for (int step = 0; step < 10; ++step) {
    run.assemble_parameters();
    const std::vector<float> before(run.parameters().begin(), run.parameters().end());
    run.step(batch);
    run.assemble_parameters();
    for (const auto& b : layout.blocks()) {
      const auto now = run.parameters().subspan(b.offset, b.count);
      std::equal(now.begin(), now.end(), before.begin() + std::ptrdiff_t(b.offset)) ? ++rested : ++moved;
    }
  }
  CHECK(rested > 20);
  CHECK(moved > 20);
}

TEST_CASE("compressors with momentum do on the device what they do on the host", "[device][compress]") {
  check(plain, dgc{.ratio = 0.1});
  check(plain, majority_vote{.momentum = 0.9});
  const optim::one_bit_adam adam{.learning_rate = 0.01, .freeze_after = 4};
  check(adam, one_bit_momentum_of(adam));
}

TEST_CASE("momentum twice, or not the same, is refused on the device, too", "[device][compress]") {
  CHECK_THROWS_AS(train(1, heavy, dgc{}, engine::cuda{}), usage_error);
  const optim::one_bit_adam adam{.learning_rate = 0.01, .freeze_after = 4};
  CHECK_THROWS_AS(train(1, adam, one_bit_momentum_of(optim::one_bit_adam{.freeze_after = 5}), engine::cuda{}), usage_error);
}

TEST_CASE("several communications, and other compressors for other blocks and steps", "[device][compress]") {
  check(heavy, per_layer{rule{power_sgd{.rank = 2, .minimum_gain = 1}, {.matrices = true}}, two_phase{sign{}}});
  check(heavy, after{3, error_feedback{top_k{.ratio = 0.1}}});
  check(plain, variance_based{.ratio = 0.2});
  check(plain, sketched_sgd{.ratio = 0.1});
}
