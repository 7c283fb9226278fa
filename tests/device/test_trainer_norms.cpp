// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <string>

#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "trainers.hpp"

// Optimizers whose steps depend on the norm of a whole block, on a device: what they learn on the host, on any number of ranks, with buckets
// smaller than a block. Steps in proportion to a norm grow differences of rounding, so that the tolerance is wider than for SGD.

using namespace entrain;
using test::check_same, test::train;

namespace {

constexpr std::uint64_t steps = 15;
const nn::mlp perceptron{.inputs = 6, .hidden = {40, 7}, .outputs = 3};
const parallel::data small_buckets{.bucket_bytes = 100};

template <class Optimizer>
void check(const Optimizer& optimizer) {
  INFO(optimizer.describe());
  const auto host = train(1, perceptron, test::clusters{}, steps, 6, optimizer, small_buckets);
  CHECK(host.losses.back() < host.losses.front());
  for (const int ranks : {1, 2, 3}) {
    INFO(ranks << " ranks");
    check_same(train(ranks, perceptron, test::clusters{}, steps, 6, optimizer, small_buckets, engine::cuda{}), host, 2e-4);
  }
  const auto mixed = train(2, perceptron, test::clusters{}, steps, 6, optimizer, small_buckets, engine::cuda{}, precision::bf16_mixed{});
  CHECK(test::distance(mixed.losses, host.losses) <= 3e-2);
}

}  // namespace

TEST_CASE("LAMB on the device learns what it learns on the host, on any number of ranks", "[device]") {
  check(optim::lamb{.learning_rate = 0.05, .weight_decay = 0.1});
  check(optim::clipped{optim::lamb{.learning_rate = 0.05, .bias_correction = false, .decay_vectors = true, .adapt_vectors = false}, 0.5});
}

TEST_CASE("LARS on the device learns what it learns on the host, on any number of ranks", "[device]") {
  check(optim::lars{.learning_rate = 1, .trust = 0.05});
  check(optim::lars{.learning_rate = 0.05, .trust = 1, .momentum = 0, .weight_decay = 0, .adapt_vectors = true});
}
