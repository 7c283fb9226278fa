// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/comm/simulated.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/testing/parallel_laws.hpp>

#include "models.hpp"

// Trainers on virtual ranks: the same result as one rank, in seconds, for hundreds of them.

using namespace entrain;

namespace {
const nn::mlp perceptron{.inputs = 6, .hidden = {8, 5}, .outputs = 3};
const optim::sgd sgd{.learning_rate = 0.1, .momentum = 0.9};
}  // namespace

TEST_CASE("the laws of parallel policies hold on virtual ranks", "[simulated]") {
  for (const int ranks : {1, 3, 8})
    CHECK_NOTHROW(comm::simulate(ranks, [](comm::simulated& world) {
      const compress::none whole;
      testing::check_training(world, perceptron, test::clusters{}, sgd, whole, parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.batch = 10});
      testing::check_training(world, perceptron, test::clusters{}, sgd, whole, parallel::sharded{.bucket_bytes = 100}, precision::fp32{}, {.batch = 10});
    }));
}

TEST_CASE("256 virtual ranks train as one does", "[simulated]") {
  const test::clusters data{.samples = 300};
  const fit_options options{.steps = 5, .batch = 256, .seed = 3, .prefetch = false};
  trainer alone{perceptron, sgd};
  alone.fit(data, options);

  std::vector<float> reached;
  const comm::simulation_options cluster{.network = comm::network::hierarchical({.ranks_per_node = 8,
                                                                                 .inner = comm::network::wire(5e-7, 1e11),
                                                                                 .outer = comm::network::wire(3e-6, 1e10),
                                                                                 .shared_port = true})};
  const auto report = comm::simulate(256, cluster, [&](comm::simulated& world) {
    trainer run{perceptron, sgd, world, parallel::data{}};
    run.fit(data, options);
    if (world.rank() == 0) reached.assign(run.parameters().begin(), run.parameters().end());
  });
  REQUIRE(reached.size() == alone.parameters().size());
  CHECK(testing::detail::relative_difference<float>(reached, alone.parameters()) < 1e-5);
  CHECK(report.finish > 5 * 2 * 5 * 3e-6);  // a step's all-reduce crosses between 32 nodes: at least 5 latencies there and back
  CHECK(report.finish < 1e-2);
}
