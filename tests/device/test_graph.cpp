// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/convolution.hpp>
#include <entrain/nn/flatten.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/losses.hpp"
#include "../trainer/models.hpp"
#include "device_test.hpp"

// Losses that the host asks for later, and passes that are replayed as graphs: nothing changes but what the host has to do.

using namespace entrain;
using test::losses_to;
using test::on_device;

namespace {

struct outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  double evaluated = 0;
  friend bool operator==(const outcome&, const outcome&) = default;
};

constexpr std::uint64_t steps = 8;

template <class Model, class Data, class Optimizer, class... More>
outcome train(int ranks, std::uint64_t to, bool graph, const Model& model, const Data& data, const Optimizer& optimizer, const More&... more) {
  outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    std::vector<double> seen;
    trainer run{model, optimizer, world, losses_to{&seen}, engine::cuda{.graph = graph}, more...};
    run.fit(data, {.steps = to, .batch = 6, .resume = true});
    run.assemble_parameters();
    const double evaluated = run.evaluate(data).mean();
    if (world.rank() == 0) out = {seen, {run.parameters().begin(), run.parameters().end()}, evaluated};
  });
  return out;
}
template <class... What>
void check_same(int ranks, const What&... what) {
  const outcome plain = train(ranks, steps, false, what...);
  CHECK(plain.losses.size() == steps);
  CHECK(train(ranks, steps, true, what...) == plain);
}

struct pictures {
  using batch_type = labelled_batch;
  std::uint64_t size() const { return 30; }
  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), 36);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      batch.targets[s] = std::int32_t(indices[s] % 3);
      for (std::size_t i = 0; i < 36; ++i) batch.inputs[s * 36 + i] = float((i * (1 + indices[s] % 3)) % 13) / 13;
    }
  }
};

template <class Data>
typename Data::batch_type some(const Data& data, std::vector<std::uint64_t> indices) {
  typename Data::batch_type batch;
  data.fill(indices, batch);
  return batch;
}

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const nn::gpt language{.layers = 1, .heads = 2, .width = 16, .context = 6, .vocabulary = 11};
const nn::gpt forgetful{.layers = 1, .heads = 2, .width = 16, .context = 6, .vocabulary = 11, .dropout = 0.2f};
const optim::adamw adam{.learning_rate = 0.01};

}  // namespace

TEST_CASE("deferred losses are the sum of the losses", "[device]") {
  const auto queue = engine::cuda{}.start();
  const nn::ops::softmax_cross_entropy op{5, 7};
  loss_sum expected;
  std::vector<on_device<float>> logits;
  const on_device<std::int32_t> targets({1, -1, 6, 0, 3});
  for (std::uint32_t i = 0; i < 3; ++i) {
    logits.emplace_back(test::normal_values<float>(35, i));
    expected += forward(queue, op, static_cast<const float*>(logits.back().data()), static_cast<const std::int32_t*>(targets.data()));
  }
  for (int time = 0; time < 2; ++time) {
    const auto losses = queue.defer_losses();
    for (const auto& x : logits) CHECK(forward(queue, op, static_cast<const float*>(x.data()), static_cast<const std::int32_t*>(targets.data())).count == 0);
    const loss_sum total = losses.total();
    CHECK(total.sum == expected.sum);
    CHECK(total.count == 12);
    CHECK(total.correct == expected.correct);
  }
  CHECK(queue.defer_losses().total().count == 0);  // nothing had a loss
  CHECK(forward(queue, op, static_cast<const float*>(logits[0].data()), static_cast<const std::int32_t*>(targets.data())).count == 4);
  const on_device<float> target(test::normal_values<float>(35, 9));
  const nn::ops::squared_error squares{5, 7};
  const auto losses = queue.defer_losses();
  forward(queue, squares, static_cast<const float*>(logits[0].data()), static_cast<const float*>(target.data()));
  CHECK(losses.total().count == 5);
}

TEST_CASE("a graph does again what it was given, and after an exception the stream can be used", "[device]") {
  const auto queue = engine::cuda{}.start();
  const std::vector<float> first{1, 2, 3}, second{4, 5, 6};
  const on_device<float> from(first), to({0, 0, 0}), zero({7, 7, 7});
  engine::cuda_graph graph;
  CHECK(graph.empty());
  const bool changes = queue.capture(graph, [&] { queue.copy(from.data(), to.data(), 3), queue.zero(zero.data(), 3); });
  CHECK(!changes);
  CHECK(to.host() == std::vector<float>{0, 0, 0});
  queue.launch(graph);
  CHECK(to.host() == first);
  CHECK(zero.host() == std::vector<float>{0, 0, 0});
  from.host();
  engine::cuda_check(cudaMemcpy(from.data(), second.data(), 12, cudaMemcpyHostToDevice), "cudaMemcpy");
  queue.launch(graph);
  CHECK(to.host() == second);

  CHECK_THROWS_WITH(queue.capture(graph, [&] { queue.zero(to.data(), 3), throw std::runtime_error("stop"); }), "stop");
  queue.launch(graph);  // as it was
  CHECK(to.host() == second);
  CHECK_THROWS_AS(queue.capture(graph, [&] { queue.wait(); }), engine::cuda_error);
  CHECK(queue.capture(graph, [&] { queue.context().note_changing(), queue.zero(to.data(), 3); }));  // another sequence: a new graph
  queue.launch(graph);
  CHECK(to.host() == std::vector<float>{0, 0, 0});
  queue.wait();
}

TEST_CASE("trainers with graphs give the same bits", "[device]") {
  SECTION("MLP") { check_same(1, perceptron, test::clusters{}, adam); }
  SECTION("MLP, clipped, bf16") { check_same(1, perceptron, test::clusters{}, optim::clipped{adam, 0.5}, precision::bf16_mixed{}); }
  SECTION("MLP, fp16, a scale that changes") { check_same(1, perceptron, test::clusters{}, adam, precision::fp16_mixed{.growth_interval = 3}); }
  SECTION("GPT, micro-batches") { check_same(1, language, test::counting{}, adam, parallel::data{.accumulate = 2}); }
  SECTION("GPT, micro-batches that differ") { check_same(1, language, test::counting{}, adam, parallel::data{.accumulate = 4}); }
  SECTION("GPT with dropout") { check_same(1, forgetful, test::counting{}, adam, parallel::data{.accumulate = 2}); }
  SECTION("CNN with batch norm") {
    const nn::classifier model{nn::sequential{nn::convolution{.filters = 3, .kernel = 3}, nn::batch_norm{}, nn::relu, nn::flatten{}, nn::linear{3}}, {1, 6, 6}, 3};
    check_same(1, model, pictures{}, optim::sgd{.learning_rate = 0.1});
  }
  SECTION("two ranks") { check_same(2, perceptron, test::clusters{}, adam, parallel::data{.bucket_bytes = 100}); }
  SECTION("two ranks, dropout") { check_same(2, forgetful, test::counting{}, adam); }
}

TEST_CASE("as the documentation shows it", "[device]") {
  comm::self world;
  //! [graph]
  trainer run{nn::gpt{.layers = 1, .heads = 2, .width = 16, .context = 6, .vocabulary = 11}, optim::adamw{}, world, engine::cuda{.graph = true}};
  run.fit(test::counting{}, {.steps = 4, .batch = 3});  // the first step as always, the second captured, the others one launch each
  //! [graph]
  CHECK(run.describe().find("graph yes") != std::string::npos);
}

TEST_CASE("with graphs, batches may change their size, and evaluation may move the memory between", "[device]") {
  const test::clusters data;
  const auto learn = [&](bool graph) {
    comm::self world;
    trainer run{perceptron, adam, world, engine::cuda{.graph = graph}};
    std::vector<double> losses;
    const std::vector<std::vector<std::uint64_t>> sizes{{1, 2}, {3, 4, 5}, {6}, {}, {7, 8, 9, 10, 11, 12, 13}};
    for (int round = 0; round < 4; ++round) {
      for (const auto& indices : sizes) losses.push_back(run.step(some(data, indices)).loss.sum);
      if (round == 2) losses.push_back(run.evaluate(data, {.batch = 43}).sum);
    }
    run.assemble_parameters();
    return outcome{losses, {run.parameters().begin(), run.parameters().end()}, 0};
  };
  CHECK(learn(true) == learn(false));
}

TEST_CASE("a run with graphs goes on from its checkpoint bit for bit", "[device]") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_graph_" + std::to_string(::getpid()));
  const auto run = [&](std::uint64_t to, bool graph) { return train(1, to, graph, forgetful, test::counting{}, adam, checkpoint::safetensors{.directory = folder.string(), .every = 5}); };
  std::filesystem::remove_all(folder);
  const auto whole = run(8, true);
  std::filesystem::remove_all(folder);
  run(6, true);
  CHECK(run(8, true).parameters == whole.parameters);
  std::filesystem::remove_all(folder);
  run(6, false);
  CHECK(run(8, true).parameters == whole.parameters);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a bad label in a pass leaves a trainer with graphs as it was", "[device]") {
  const test::clusters data;
  const auto batch = some(data, {1, 2, 3});
  auto wrong = batch;
  wrong.targets[1] = 3;
  const auto last_loss = [&](bool errs) {
    comm::self world;
    trainer run{perceptron, adam, world, engine::cuda{.graph = true}};
    double loss = 0;
    for (int i = 0; i < 5; ++i) {
      if (errs) CHECK_THROWS_AS(run.step(wrong), usage_error);
      loss = run.step(batch).loss.sum;
    }
    return loss;
  };
  CHECK(last_loss(true) == last_loss(false));
}

namespace {
struct model_of_its_own {
  using batch_type = labelled_batch;
  using value_type = float;
};
}  // namespace

TEST_CASE("graphs of a model that cannot send its batch are refused", "[device]") {
  using passes = parallel::captured_passes<model_of_its_own, engine::cuda_queue>;
  CHECK_NOTHROW(passes(engine::cuda{}.start()));
  CHECK_THROWS_WITH(passes(engine::cuda{.graph = true}.start()), Catch::Matchers::Contains("sends its batch before its pass"));
}

#if !defined(__CUDACC__)
namespace {
// What the host gives to streams in one step, when all has been made.
template <class Model, class Batch, class... More>
long submissions_of_a_step(const Model& model, const Batch& batch, bool graph, const More&... more) {
  comm::self world;
  trainer run{model, adam, world, engine::cuda{.graph = graph}, more...};
  for (int i = 0; i < 3; ++i) run.step(batch);
  const long before = emulated::submissions, made = emulated::graphs_made, memory = emulated::allocations;
  for (int i = 0; i < 2; ++i) run.step(batch);
  CHECK(emulated::graphs_made == made);
  CHECK(emulated::allocations == memory);
  return (emulated::submissions - before) / 2;
}
}  // namespace

TEST_CASE("a replayed step is five calls: a zero for the loss, two copies of the batch, one graph, the update", "[device]") {
  const auto batch = some(test::clusters{}, {1, 2, 3, 4});
  const auto tokens = some(test::counting{}, {1, 2, 3, 4});
  CHECK(submissions_of_a_step(perceptron, batch, true) == 5);
  CHECK(submissions_of_a_step(language, tokens, true) == 5);
  CHECK(submissions_of_a_step(language, tokens, true, parallel::data{.accumulate = 2}) == 8);
  CHECK(submissions_of_a_step(language, tokens, false) > 30);
}

TEST_CASE("graphs whose arguments change are captured in each step and put into the one that is there", "[device]") {
  const auto tokens = some(test::counting{}, {1, 2, 3, 4});
  const long updated = emulated::graphs_updated;
  submissions_of_a_step(forgetful, tokens, true);
  CHECK(emulated::graphs_updated == updated + 3);
  comm::self world;
  const auto losses = [&](bool refused) {
    emulated::refuse_updates = refused;
    trainer run{forgetful, adam, world, engine::cuda{.graph = true}};
    std::vector<double> out;
    for (int i = 0; i < 5; ++i) out.push_back(run.step(tokens).loss.sum);
    emulated::refuse_updates = false;
    return out;
  };
  CHECK(losses(true) == losses(false));
}

TEST_CASE("an allocation during a capture ends in an error that names it", "[device]") {
  const auto queue = engine::cuda{}.start();
  engine::cuda_graph graph;
  CHECK_THROWS_WITH(queue.capture(graph, [] { buffer<float, cuda_space> memory(3); }), Catch::Matchers::Contains("cudaMalloc at ") && Catch::Matchers::Contains("cudaErrorStreamCaptureUnsupported"));
  const std::vector<float> pageable{1};
  const on_device<float> there({0});
  CHECK_THROWS_AS(queue.capture(graph, [&] { queue.copy(pageable.data(), there.data(), 1); }), engine::cuda_error);
  CHECK(graph.empty());
}
#endif
