// SPDX-License-Identifier: Apache-2.0
//
// entrain-test: slow (minutes under the sanitizers: the emulation takes thousands of passes)
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "device_test.hpp"

// Mixed precision with a scale of the loss, and with parameters rounded by chance.

using namespace entrain;

namespace {

struct pictures {
  using batch_type = labelled_batch;
  std::uint64_t size() const { return 40; }
  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), 784);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      batch.targets[s] = std::int32_t(indices[s] % 4);
      for (std::size_t i = 0; i < 784; ++i) batch.inputs[s * 784 + i] = float((i * (1 + indices[s] % 4)) % 13) / 13;
    }
  }
};

struct outcome {
  std::vector<double> losses, scales;
  std::vector<bool> skipped;
  std::vector<float> parameters;
  std::uint64_t skipped_steps = 0;
  double evaluated = 0;  // with what products read
};

struct steps_to {
  using slot_type = slot::monitor;
  outcome* to;
  void step(const monitor::step_event& e) { to->losses.push_back(e.loss), to->scales.push_back(e.loss_scale), to->skipped.push_back(e.skipped); }
  void finish(const monitor::run_summary& s) { to->skipped_steps = s.skipped_steps; }
};

template <class Model, class Data, class... More>
outcome train(int ranks, const Model& model, const Data& data, std::uint64_t steps, std::size_t batch, const More&... more) {
  outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    outcome mine;
    trainer run{model, world, engine::cuda{}, steps_to{&mine}, more...};
    run.fit(data, {.steps = steps, .batch = batch, .resume = true});
    run.assemble_parameters();
    mine.parameters = {run.parameters().begin(), run.parameters().end()};
    mine.evaluated = run.evaluate(data).mean();
    if (world.rank() == 0) out = std::move(mine);
  });
  return out;
}

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const nn::gpt language{.layers = 1, .heads = 2, .width = 16, .context = 6, .vocabulary = 11};
const optim::adamw adamw{.learning_rate = 3e-3};

// Checkpoints of one test.
struct folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("entrain_precision_" + std::to_string(::getpid()));
  folder() { std::filesystem::remove_all(path); }
  ~folder() { std::filesystem::remove_all(path); }
  checkpoint::safetensors every(std::uint64_t steps) const { return {.directory = path.string(), .every = steps}; }
};

}  // namespace

TEST_CASE("models in fp16 learn what they learn in fp32", "[device]") {
  const auto clipped = optim::clipped{optim::sgd{.learning_rate = 0.5, .momentum = 0.9}, 0.1};
  const parallel::data pieces{.bucket_bytes = 200, .accumulate = 2};
  const auto check = [](const outcome& mixed, const outcome& whole) {
    CHECK(test::distance(mixed.losses, whole.losses) <= 2e-2);
    CHECK(std::abs(mixed.evaluated - whole.evaluated) <= 2e-2 * whole.evaluated);
    CHECK(mixed.skipped_steps == 0);
    CHECK(mixed.scales == std::vector<double>(20, 1024));
    CHECK(whole.scales == std::vector<double>(20, 1));
  };
  check(train(1, perceptron, test::clusters{}, 20, 8, adamw, precision::fp16_mixed{}), train(1, perceptron, test::clusters{}, 20, 8, adamw));
  check(train(1, perceptron, test::clusters{}, 20, 8, clipped, pieces, precision::fp16_mixed{}), train(1, perceptron, test::clusters{}, 20, 8, clipped, pieces));
  check(train(1, language, test::counting{}, 20, 2, adamw, precision::fp16_mixed{}), train(1, language, test::counting{}, 20, 2, adamw));
}

TEST_CASE("a CNN with batch norm learns in fp16, too", "[device]") {
  const nn::cnn model{.filters = {3, 4}, .hidden = 12};
  const auto mixed = train(1, model, pictures{}, 2, 2, optim::sgd{.learning_rate = 0.05}, precision::fp16_mixed{}), whole = train(1, model, pictures{}, 2, 2, optim::sgd{.learning_rate = 0.05});
  CHECK(test::distance(mixed.losses, whole.losses) <= 2e-2);
  CHECK(test::distance(mixed.parameters, whole.parameters) <= 2e-2);
}

TEST_CASE("small gradients that fp16 would lose survive by the scale", "[device]") {
  // Gradients of about 1e-9: zero in 16 bits unless scaled.
  struct faint : test::plane {
    void fill(std::span<const std::uint64_t> indices, regression_batch& batch) const {
      test::plane::fill(indices, batch);
      for (float& x : batch.inputs) x *= 3e-5f;
      for (float& y : batch.targets) y *= 3e-5f;
    }
  };
  const nn::regressor model{nn::sequential{nn::linear{.outputs = 1, .bias = false}}, {5}, 1};
  const optim::sgd steep{.learning_rate = 1e3};
  const auto moved = [&](double scale) {
    const auto before = train(1, model, faint{}, 1, 4, optim::sgd{.learning_rate = 0}, precision::fp16_mixed{.first_scale = scale});
    const auto after = train(1, model, faint{}, 1, 4, steep, precision::fp16_mixed{.first_scale = scale});
    std::size_t n = 0;
    for (std::size_t i = 0; i < before.parameters.size(); ++i) n += before.parameters[i] != after.parameters[i];
    return n;
  };
  CHECK(moved(1) == 0);
  CHECK(moved(65536) == 5);
}

TEST_CASE("a step whose gradients overflow changes nothing, and the scale falls until none does", "[device]") {
  comm::self world;
  trainer run{perceptron, adamw, world, engine::cuda{}, precision::fp16_mixed{.first_scale = 0x1p20}};
  labelled_batch batch;
  test::clusters{}.fill(std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8}, batch);
  run.assemble_parameters();
  const std::vector<float> first(run.parameters().begin(), run.parameters().end());
  double scale = 0x1p20, loss = 0;
  int skipped = 0;
  for (auto report = run.step(batch); ; report = run.step(batch)) {
    run.assemble_parameters();
    const std::vector<float> now(run.parameters().begin(), run.parameters().end());
    CHECK(report.loss_scale == scale);
    if (skipped == 0) loss = report.loss.mean();
    CHECK(report.loss.mean() == loss);  // before the update, and not scaled
    if (!report.skipped) {
      CHECK(now != first);
      break;
    }
    REQUIRE(now == first);
    REQUIRE(++skipped < 20);
    scale /= 2;
  }
  CHECK(skipped >= 4);  // 2^16 is infinite already
  for (int i = 0; i < 5; ++i) {
    const auto report = run.step(batch);
    CHECK((!report.skipped && report.loss_scale == scale && report.loss.mean() < loss));
    loss = report.loss.mean();
  }

  // The optimizer's moments are those of a run that began with the scale that remained.
  trainer other{perceptron, adamw, world, engine::cuda{}, precision::fp16_mixed{.first_scale = scale}};
  for (int i = 0; i < 6; ++i) other.step(batch);
  run.assemble_parameters(), other.assemble_parameters();
  CHECK(std::equal(run.parameters().begin(), run.parameters().end(), other.parameters().begin()));
}

TEST_CASE("the scale grows after an interval of good steps, and falls when it is too large", "[device]") {
  const auto run = train(1, perceptron, test::clusters{}, 60, 8, adamw, precision::fp16_mixed{.first_scale = 256, .growth = 4, .backoff = 0.25, .growth_interval = 3});
  CHECK(run.scales[2] == 256);
  CHECK(run.scales[3] == 1024);
  CHECK(run.scales[5] == 1024);
  CHECK(run.scales[6] == 4096);
  CHECK(run.skipped_steps > 0);
  CHECK(run.skipped_steps == std::uint64_t(std::count(run.skipped.begin(), run.skipped.end(), true)));
  std::size_t good = 0;
  for (std::size_t i = 0; i + 1 < run.scales.size(); ++i) {
    good = run.skipped[i] ? 0 : good + 1;
    CHECK(run.scales[i + 1] == run.scales[i] * (run.skipped[i] ? 0.25 : good == 3 ? 4 : 1));
    good %= 3;
  }
  CHECK(run.losses.back() < run.losses.front());
}

TEST_CASE("a run in fp16 that is interrupted goes on bit for bit, scale included", "[device]") {
  for (const int ranks : {1, 2}) {
    const auto run = [&](const folder& at, std::uint64_t steps, std::uint64_t every) {
      return train(ranks, perceptron, test::clusters{}, steps, 8, adamw, precision::fp16_mixed{.first_scale = 0x1p18, .growth_interval = 3}, at.every(every));
    };
    const auto whole = run(folder{}, 24, 100);
    CHECK(whole.skipped_steps > 2);
    const folder at;
    run(at, 11, 7);
    const auto rest = run(at, 24, 100);
    REQUIRE(rest.scales.size() == 17);
    CHECK(rest.parameters == whole.parameters);
    CHECK(std::equal(rest.scales.begin(), rest.scales.end(), whole.scales.begin() + 7));
    CHECK(std::equal(rest.losses.begin(), rest.losses.end(), whole.losses.begin() + 7));
    CHECK(rest.evaluated == whole.evaluated);
  }
}

TEST_CASE("a run of fp32 goes on in fp16", "[device]") {
  const folder at;
  train(1, perceptron, test::clusters{}, 5, 8, adamw, at.every(5));
  const auto rest = train(1, perceptron, test::clusters{}, 8, 8, adamw, precision::fp16_mixed{.first_scale = 512}, at.every(100));
  CHECK(rest.scales == std::vector<double>(3, 512));
}

TEST_CASE("two ranks in fp16 are one", "[device]") {
  const precision::fp16_mixed precise{.first_scale = 0x1p18, .growth_interval = 5};
  const auto one = train(1, perceptron, test::clusters{}, 20, 8, adamw, precise);
  const auto two = train(2, perceptron, test::clusters{}, 20, 8, adamw, precise);
  CHECK(two.skipped_steps > 0);
  CHECK(test::distance(two.losses, one.losses) <= 2e-2);
  CHECK(two.parameters.size() == one.parameters.size());
}

TEST_CASE("as the documentation shows fp16", "[device]") {
  comm::self world;
  //! [fp16]
  trainer run{nn::gpt{.layers = 1, .heads = 2, .width = 16, .context = 6, .vocabulary = 11}, optim::adamw{.learning_rate = 3e-3}, world, engine::cuda{},
              precision::fp16_mixed{.first_scale = 1024, .growth = 2, .backoff = 0.5, .growth_interval = 2000}};
  //! [fp16]
  CHECK(run.fit(test::counting{}, {.steps = 2, .batch = 4}).skipped_steps == 0);
  CHECK(run.describe().find("fp16_mixed{first_scale 1024") != std::string::npos);
}

TEST_CASE("numbers of which no scale can follow are refused", "[device]") {
  comm::self world;
  for (const auto& p : {precision::fp16_mixed{.first_scale = 0}, precision::fp16_mixed{.growth = 0.5}, precision::fp16_mixed{.backoff = 1}, precision::fp16_mixed{.growth_interval = 0},
                        precision::fp16_mixed{.first_scale = std::nan("")}})
    CHECK_THROWS_AS((trainer{perceptron, adamw, world, engine::cuda{}, p}), usage_error);
}

TEST_CASE("parameters rounded by chance are right on average", "[device]") {
  // A parameter that stays at x, rounded 4096 times: the mean is within six standard errors of x (the step's half is the largest
  // deviation), which one in 5e8 misses; 256 parameters: one run in two millions fails for a right rounding, and streams are fixed.
  const std::size_t n = 256, rounds = 4096;
  const auto kept = test::normal_values<float>(n);
  const test::on_device<float> d_kept(kept);
  const auto rounded = test::on_device<bfloat16>::poisoned(n);
  const engine::cuda_queue queue = engine::start(engine::cuda{});
  std::vector<double> sums(n);
  for (std::size_t step = 0; step < rounds; ++step) {
    round_parameters_again(queue, static_cast<const float*>(d_kept.data()), rounded.data(), 0, n, 5, step);
    const auto values = rounded.host();
    for (std::size_t i = 0; i < n; ++i) sums[i] += double(float(values[i]));
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double step = std::exp2(std::floor(std::log2(std::abs(double(kept[i])))) - 7);
    CHECK(std::abs(sums[i] / double(rounds) - double(kept[i])) <= 6 * 0.5 * step / std::sqrt(double(rounds)));
  }
}

TEST_CASE("training with rounding by chance: the same in two runs, on two ranks, and after an interruption", "[device]") {
  const auto run = [](const auto& precision, int ranks, std::uint64_t steps, const auto&... more) { return train(ranks, perceptron, test::clusters{}, steps, 8, adamw, precision, more...); };
  const auto check = [&](const auto& chance, const auto& nearest) {
    const auto whole = run(chance, 1, 16), again = run(chance, 1, 16), plain = run(nearest, 1, 16), exact = run(precision::fp32{}, 1, 16);
    CHECK(whole.parameters == again.parameters);
    CHECK(whole.losses == again.losses);
    CHECK(whole.losses != plain.losses);
    CHECK(test::distance(whole.losses, exact.losses) <= 3e-2);
    CHECK(test::distance(run(chance, 2, 16).losses, whole.losses) <= 3e-2);
    const folder at;
    run(chance, 1, 9, at.every(6));
    const auto rest = run(chance, 1, 16, at.every(100));
    REQUIRE(rest.losses.size() == 10);
    CHECK(rest.parameters == whole.parameters);
    CHECK(rest.evaluated == whole.evaluated);
    CHECK(std::equal(rest.losses.begin(), rest.losses.end(), whole.losses.begin() + 6));
  };
  check(precision::bf16_mixed{.stochastic_rounding = true}, precision::bf16_mixed{});
  check(precision::fp16_mixed{.first_scale = 0x1p17, .stochastic_rounding = true}, precision::fp16_mixed{.first_scale = 0x1p17});
}

#if !defined(__CUDACC__)
TEST_CASE("with a scale nothing is allocated on the device after the first step", "[device]") {
  comm::self world;
  trainer run{perceptron, optim::clipped{optim::adamw{}, 1.0}, world, engine::cuda{}, precision::fp16_mixed{.first_scale = 0x1p18, .stochastic_rounding = true}};
  labelled_batch batch;
  test::clusters{}.fill(std::vector<std::uint64_t>{1, 2, 3, 4}, batch);
  run.step(batch);
  const long before = emulated::allocations;
  for (int i = 0; i < 12; ++i) run.step(batch);
  CHECK(emulated::allocations == before);
}
#endif
