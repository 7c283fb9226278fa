// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/policy.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/data/synthetic.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/monitor/record.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/dropout.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/testing/model_laws.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

// The code of the pages docs/{model,compression,parallelism,engine,precision,monitor,checkpoint,fault}.md.

using namespace entrain;

TEST_CASE("sharded training on threads", "[docs]") {
  double accuracy = 0;
  //! [sharded]
  comm::run_ranks(4, [&](comm::threads& world) {
    trainer run{nn::mlp{.inputs = 2, .hidden = {16}, .outputs = 2}, optim::adamw{.learning_rate = 1e-2}, world, parallel::sharded{}};
    run.fit(data::two_moons(1000), {.steps = 200, .batch = 32});
    const loss_sum result = run.evaluate(data::two_moons(500, 0.1f, 2));
    if (world.rank() == 0) accuracy = result.accuracy();
  });
  //! [sharded]
  CHECK(accuracy > 0.95);
}

TEST_CASE("layers put together", "[docs]") {
  //! [layers]
  const nn::classifier model{nn::sequential{nn::linear{32}, nn::relu, nn::dropout{0.1f}, nn::linear{2}}, {2}, 2};
  trainer run{model, optim::sgd{.learning_rate = 0.1, .momentum = 0.9}};
  //! [layers]
  const auto summary = run.fit(data::two_moons(1000), {.steps = 100, .batch = 32});
  CHECK(summary.last_loss < summary.first_loss);
}

TEST_CASE("a model of one's own keeps the laws", "[docs]") {
  regression_batch batch;
  const std::vector<std::uint64_t> indices{0, 1, 2, 3, 4};
  test::plane{}.fill(indices, batch);
  //! [model_laws]
  test::line<double> model;
  testing::check_model(model, batch);
  testing::check_gradient(model, batch);
  //! [model_laws]
}

TEST_CASE("a compressor of the library", "[docs]") {
  std::vector<monitor::step_event> steps;
  comm::run_ranks(2, [&](comm::threads& world) {
    //! [compression]
    trainer run{test::line<float>{.features = 1000}, optim::sgd{.learning_rate = 0.01}, world, compress::error_feedback{compress::top_k{.ratio = 0.01}}, monitor::record{steps}};
    //! [compression]
    run.fit(test::plane{.samples = 64, .features = 1000}, {.steps = 3, .batch = 16});
    //! [plan]
    const parallel::plan plan = run.plan(16);  // every collective and message of a step, before it runs
    const std::uint64_t bytes = parallel::bytes_sent(plan);
    //! [plan]
    if (world.rank() == 0 && (bytes != steps.back().bytes_sent || bytes != 10 * 8 + 1 * 8 + 32)) throw error("plan", "other bytes", std::to_string(bytes));
  });
}

TEST_CASE("an engine and a precision", "[docs]") {
  const auto train = [](auto engine, auto number_format) {
    //! [engine]
    trainer run{nn::mlp{.inputs = 2, .hidden = {8}, .outputs = 2}, optim::sgd{.learning_rate = 0.1}, engine, number_format};
    //! [engine]
    return run.fit(data::two_moons(100), {.steps = 5, .batch = 20}).last_loss;
  };
  const double truth = train(engine::reference{}, precision::fp64{});
  CHECK(train(engine::reference{}, precision::fp32{}) == Approx(truth).epsilon(1e-5));
  //! [threads]
  engine::host two_threads;
  two_threads.threads = 2;  // of oneDNN's matrix product, in each rank
  //! [threads]
  CHECK(train(two_threads, precision::fp32{}) == Approx(truth).epsilon(1e-5));
}

namespace {

//! [monitor]
struct best_loss {
  using slot_type = entrain::slot::monitor;
  double* best;  // outlives the trainer, which keeps a copy of this

  void step(const entrain::monitor::step_event& event) {
    if (event.loss < *best) *best = event.loss;
  }
};
//! [monitor]

}  // namespace

TEST_CASE("a monitor of one's own", "[docs]") {
  double best = 1e9;
  trainer run{test::line<float>{}, optim::sgd{.learning_rate = 0.1}, best_loss{&best}};
  const auto summary = run.fit(test::plane{}, {.steps = 20, .batch = 10});
  CHECK(best <= summary.last_loss);
}

TEST_CASE("a run that goes on after its end", "[docs]") {
  const std::string folder = (std::filesystem::temp_directory_path() / ("entrain-docs-" + std::to_string(::getpid()))).string();
  std::filesystem::remove_all(folder);
  const auto train = [&](std::uint64_t steps) {
    //! [checkpoint]
    trainer run{test::line<float>{}, optim::adamw{}, checkpoint::safetensors{.directory = folder, .every = 10, .keep = 2}};
    run.fit(test::plane{}, {.steps = steps, .batch = 10, .resume = true});
    //! [checkpoint]
    return std::vector<float>(run.parameters().begin(), run.parameters().end());
  };
  train(20);
  const auto in_two_goes = train(40);
  trainer whole{test::line<float>{}, optim::adamw{}};
  whole.fit(test::plane{}, {.steps = 40, .batch = 10});
  CHECK(in_two_goes == std::vector<float>(whole.parameters().begin(), whole.parameters().end()));
  std::filesystem::remove_all(folder);
}

TEST_CASE("a fault on purpose", "[docs]") {
  const auto fail = [] {
    //! [fault]
    comm::run_ranks(3, [](comm::threads& world) {
      trainer run{test::line<float>{}, optim::sgd{}, world, fault::throw_at{.rank = 1, .step = 5}};
      run.fit(test::plane{}, {.steps = 10, .batch = 9});
    });
    //! [fault]
  };
  CHECK_THROWS_WITH(fail(), "fault::throw_at: injected at point 'step' of step 5 on rank 1");
}
