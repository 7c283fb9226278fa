// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/jointspar.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/lars.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/testing/parallel_laws.hpp>

#include "../nn/batches.hpp"
#include "comm/holds.hpp"
#include "models.hpp"

using namespace entrain;

TEST_CASE("JointSpar trains: the same on all ranks, fewer bytes, idle blocks rest", "[compress]") {
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7, 8, 5}, .outputs = 3};
  const test::clusters data{.samples = 29};
  const compress::jointspar c{.share = 0.5};
  for (const int ranks : {1, 2, 3, 4})
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      const optim::sgd sgd{.learning_rate = 0.02, .momentum = 0.9};
      testing::check_training(world, perceptron, data, sgd, c, parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.steps = 8, .batch = 4});
      testing::check_training(world, perceptron, data, sgd, c, parallel::sharded{.bucket_bytes = 100}, precision::fp64{}, {.steps = 8, .batch = 4});
      testing::check_training(world, perceptron, data, optim::lars{}, c, parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.steps = 8, .batch = 4});
    }));

  // A step changes the blocks that were drawn and no others.
  comm::run_ranks(2, [&](comm::threads& world) {
    trainer run{perceptron, optim::sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.1}, world, c};
    const auto layout = run.replica().layout();
    int rested = 0, moved = 0;
    labelled_batch batch;
    const std::vector<std::uint64_t> some{0, 1, 2, 3};
    data.fill(some, batch);
    for (int step = 0; step < 10; ++step) {
      const std::vector<float> before(run.parameters().begin(), run.parameters().end());
      run.step(batch);
      for (const auto& b : layout.blocks()) {
        const auto now = run.parameters().subspan(b.offset, b.count);
        const bool same = std::equal(now.begin(), now.end(), before.begin() + std::ptrdiff_t(b.offset));
        same ? ++rested : ++moved;
      }
    }
    HOLDS(rested > 20);
    HOLDS(moved > 20);
  });
}

TEST_CASE("layers that nobody asks for compute no weight gradients", "[compress]") {
  const auto model = nn::mlp{.inputs = 6, .hidden = {8}, .outputs = 3}.make<float>(engine::host{});
  auto instance = nn::mlp{.inputs = 6, .hidden = {8}, .outputs = 3}.make<float>(engine::host{});
  const auto layout = instance.layout();
  std::vector<float> p(layout.size()), g(layout.size(), 5.0f);
  instance.initialise(p, 1);
  labelled_batch batch;
  const std::vector<std::uint64_t> some{0, 1, 2, 3};
  test::clusters{}.fill(some, batch);
  std::vector<std::uint8_t> idle(layout.blocks().size(), 0);
  idle[0] = idle[1] = 1;
  nn::pass how;
  how.accumulate = false;
  how.idle = idle;
  instance.loss_and_gradient(std::span<const float>(p), batch, std::span<float>(g), how, [](std::size_t) {});
  for (std::size_t b = 0; b < layout.blocks().size(); ++b) {
    const auto values = std::span<const float>(g).subspan(layout[b].offset, layout[b].count);
    const bool untouched = std::all_of(values.begin(), values.end(), [](float v) { return v == 5.0f; });
    CHECK(untouched == (b < 2));
  }
}

TEST_CASE("a head and an input that nobody asks for rest, too, in the whole backward pass and in its halves", "[compress]") {
  auto model = nn::gpt{.layers = 1, .heads = 2, .width = 8, .context = 6, .vocabulary = 11}.make<float>(engine::host{});
  const auto& layout = model.layout();
  const std::size_t blocks = layout.blocks().size();
  std::vector<float> p(layout.size()), all(layout.size());
  model.initialise(p, 1);
  const token_batch batch = random_tokens(3, 6, 11);
  nn::pass how;
  how.accumulate = false;
  model.loss_and_gradient(std::span<const float>(p), batch, std::span<float>(all), how, [](std::size_t) {});

  // The tied table is the input's and the head's; then every second block.
  for (const bool table : {true, false}) {
    std::vector<std::uint8_t> idle(blocks, 0);
    for (std::size_t b = 0; b < blocks; ++b) idle[b] = table ? layout[b].name == "wte.weight" : b % 2;
    if (table) REQUIRE(std::count(idle.begin(), idle.end(), 1) == 1);
    const auto right = [&](const std::vector<float>& g, std::size_t b) {
      const auto values = std::span<const float>(g).subspan(layout[b].offset, layout[b].count);
      if (!idle[b]) return std::equal(values.begin(), values.end(), all.begin() + std::ptrdiff_t(layout[b].offset));
      return std::all_of(values.begin(), values.end(), [](float v) { return v == 5.0f; });
    };
    how.idle = idle;
    std::vector<float> g(layout.size(), 5.0f), halves = g;
    std::vector<int> told(blocks);
    model.loss_and_gradient(std::span<const float>(p), batch, std::span<float>(g), how, [&](std::size_t b) { ++told[b]; });
    auto stage = model.make_stage(0, model.units(), 1);
    stage.forward(std::span<const float>(p), batch, {}, {}, 0, how);
    stage.backward_input(std::span<const float>(p), batch, {}, {}, 0, how);
    stage.backward_parameters(std::span<const float>(p), batch, std::span<float>(halves), 0, how, [](std::size_t) {});
    for (std::size_t b = 0; b < blocks; ++b) {
      CAPTURE(layout[b].name);
      CHECK(told[b] == 1);
      // Layers of which one block is wanted compute all of theirs.
      if (!table && idle[b]) continue;
      CHECK(right(g, b));
      CHECK(right(halves, b));
    }
  }
}
