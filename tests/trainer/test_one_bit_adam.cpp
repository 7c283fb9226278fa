// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/exact_momentum.hpp>
#include <entrain/compress/one_bit_momentum.hpp>
#include <entrain/compress/per_layer.hpp>
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

// With every block exact it is Adam whose second moment stands still; written out for one rank.
TEST_CASE("exact momentum under 1-bit Adam is Adam with a frozen second moment, on any number of ranks", "[compress]") {
  const optim::one_bit_adam optimizer{.learning_rate = 0.02, .freeze_after = 5};
  const test::plane data{.samples = 64};
  std::vector<double> found[2];
  for (const int ranks : {1, 4})
    comm::run_ranks(ranks, [&](comm::threads& world) {
      trainer run{test::line<double>{}, optimizer, world, compress::exact_momentum_of(optimizer), precision::fp64{}};
      run.fit(data, {.steps = 20, .batch = 64, .shuffle = false});
      if (world.rank() == 0) found[ranks > 1].assign(run.parameters().begin(), run.parameters().end());
    });

  const test::line<double> model;
  const auto layout = model.layout();
  std::vector<double> x(layout.size()), m(x.size()), v(x.size());
  model.initialise(x, 1);
  regression_batch batch;
  std::vector<std::uint64_t> all(64);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  data.fill(all, batch);
  for (int t = 1; t <= 20; ++t) {
    std::vector<double> g(x.size());
    model.loss_and_gradient(x, batch, g);
    for (std::size_t i = 0; i < x.size(); ++i) {
      g[i] /= 64;
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      if (t <= 5) v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      const double unbiased_m = t <= 5 ? m[i] / (1 - std::pow(0.9, t)) : m[i], unbiased_v = v[i] / (1 - std::pow(0.999, std::min(t, 5)));
      if (v[i] > 0) x[i] -= 0.02 * unbiased_m / (std::sqrt(unbiased_v) + 1e-8);
    }
  }
  for (const auto& f : found)
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(f.at(i) == Approx(x[i]).epsilon(1e-9));
}

TEST_CASE("exact momentum ends where one rank ends", "[compress]") {
  const optim::one_bit_adam optimizer{.learning_rate = 0.01, .freeze_after = 3};
  CHECK_NOTHROW(comm::run_ranks(3, [&](comm::threads& world) {
    testing::check_training(world, nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, test::clusters{.samples = 29}, optimizer, compress::exact_momentum_of(optimizer), parallel::sharded{.bucket_bytes = 200}, precision::fp64{}, {.steps = 8, .batch = 4});
  }));
}

TEST_CASE("1-bit Adam with exact vectors: trains as Adam, same parameters on all ranks, resumed", "[compress]") {
  const optim::one_bit_adam optimizer{.learning_rate = 0.01, .freeze_after = 3}, later{.learning_rate = 0.01, .freeze_after = 60};
  const auto mixed = [](const auto& o) { return compress::per_layer{compress::rule{compress::one_bit_momentum_of(o), {.matrices = true}}, compress::exact_momentum_of(o)}; };
  for (const int ranks : {1, 3})
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      testing::check_training(world, nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, test::clusters{.samples = 29}, optimizer, mixed(optimizer), parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.steps = 8, .batch = 4});
      testing::check_training(world, nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, test::clusters{.samples = 29}, optimizer, mixed(optimizer), parallel::sharded{.bucket_bytes = 200}, precision::fp64{}, {.steps = 8, .batch = 4});
    }));
  const optim::adamw adam{.learning_rate = 0.01, .weight_decay = 0};
  const double start = loss_after(1, adam, compress::none{}, 0), dense = loss_after(4, adam, compress::none{}, 300), found = loss_after(4, later, mixed(later), 300);
  INFO(start << " " << dense << " " << found);
  CHECK(std::abs(found - dense) < 0.01 * start);
}

TEST_CASE("1-bit Adam and its compressor must agree about the momentum", "[compress]") {
  const nn::mlp model{.inputs = 6, .hidden = {4}, .outputs = 3};
  const optim::one_bit_adam optimizer{.freeze_after = 7}, other{.freeze_after = 8}, slower{.beta1 = 0.95, .freeze_after = 7};
  CHECK_NOTHROW(trainer{model, optimizer, compress::one_bit_momentum_of(optimizer)});
  CHECK_THROWS_AS((trainer{model, optimizer, compress::one_bit_momentum_of(other)}), usage_error);
  CHECK_THROWS_AS((trainer{model, optimizer, compress::one_bit_momentum_of(slower)}), usage_error);
  CHECK_THROWS_AS((trainer{model, optimizer, compress::exact_momentum_of(slower)}), usage_error);
  CHECK_THROWS_AS((trainer{model, optimizer, compress::after{9, compress::one_bit_momentum_of(optimizer).compressor}}), usage_error);
}
