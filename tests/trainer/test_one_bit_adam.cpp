// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/one_bit_momentum.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/one_bit_adam.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/testing/optimizer_laws.hpp>
#include <entrain/trainer/trainer.hpp>

#include "compression_matrix.hpp"

using namespace entrain;

namespace {

template <class Optimizer, class C>
double loss_after(int ranks, const Optimizer& optimizer, const C& c, std::uint64_t steps) {
  double loss = 0;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{nn::mlp{.inputs = 6, .hidden = {16}, .outputs = 3}, optimizer, world, c};
    run.fit(test::clusters{.samples = 64}, {.steps = steps, .batch = 32});
    const auto result = run.evaluate(test::clusters{.samples = 64});
    if (world.rank() == 0) loss = result.mean();
  });
  return loss;
}

}  // namespace

TEST_CASE("before it freezes, 1-bit Adam is Adam", "[optim]") {
  const optim::one_bit_adam ours{.learning_rate = 0.01, .freeze_after = 50};
  const optim::adamw adam{.learning_rate = 0.01, .weight_decay = 0};
  CHECK(loss_after(3, ours, compress::one_bit_momentum_of(ours), 40) == Approx(loss_after(3, adam, compress::none{}, 40)).epsilon(1e-5));
}

TEST_CASE("1-bit Adam ends within 1 % of the way of Adam", "[optim]") {
  const optim::one_bit_adam ours{.learning_rate = 0.01, .freeze_after = 60};
  const optim::adamw adam{.learning_rate = 0.01, .weight_decay = 0};
  const double start = loss_after(1, adam, compress::none{}, 0), dense = loss_after(8, adam, compress::none{}, 300), found = loss_after(8, ours, compress::one_bit_momentum_of(ours), 300);
  INFO(start << " " << dense << " " << found);
  CHECK(std::abs(found - dense) < 0.01 * start);
}

TEST_CASE("1-bit Adam through the trainer: same parameters on all ranks, bytes as planned, resumed", "[compress]") {
  const optim::one_bit_adam optimizer{.learning_rate = 0.01, .freeze_after = 3};
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
  for (const int ranks : {1, 2, 3, 4, 5})
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      testing::check_training(world, perceptron, test::clusters{.samples = 29}, optimizer, compress::one_bit_momentum_of(optimizer), parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.steps = 8, .batch = 4});
      testing::check_training(world, perceptron, test::clusters{.samples = 29}, optimizer, compress::one_bit_momentum_of(optimizer), parallel::sharded{.bucket_bytes = 200}, precision::fp64{}, {.steps = 8, .batch = 4});
    }));
}
