// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <vector>

#include "catch.hpp"
#include <entrain/comm/threads.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/nn.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/trainer.hpp>
#include <entrain/compress/compress.hpp>

#include "comm/holds.hpp"
#include "trainer/models.hpp"

// parallel::reproducible{.shards = 8}: the same bits of the parameters on 1, 2, 4 and 8 ranks.

using namespace entrain;

namespace {

template <class Model, class Dataset, class Optimizer>
std::vector<float> trained(int ranks, const Model& model, const Dataset& data, const Optimizer& optimizer, std::size_t bucket_bytes, std::size_t shards) {
  std::vector<float> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{model, world, optimizer, parallel::reproducible{.bucket_bytes = bucket_bytes, .shards = shards}};
    const auto before = world.counters().bytes;
    run.fit(data, {.steps = 5, .batch = 16});
    HOLDS(world.counters().bytes - before == 5 * parallel::bytes_sent(run.plan(16)));
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

template <class Model, class Dataset, class Optimizer>
void same_on_all(const Model& model, const Dataset& data, const Optimizer& optimizer) {
  const auto one = trained(1, model, data, optimizer, 256, 8);
  for (const int ranks : {2, 4, 8})
    for (const std::size_t bucket : {std::size_t(256), std::size_t(1) << 20}) {
      INFO(ranks << " ranks");
      const auto many = trained(ranks, model, data, optimizer, bucket, 8);
      REQUIRE(many.size() == one.size());
      CHECK(std::memcmp(many.data(), one.data(), one.size() * sizeof(float)) == 0);
    }
  CHECK(std::memcmp(trained(2, model, data, optimizer, 256, 2).data(), one.data(), one.size() * sizeof(float)) != 0);  // the shards are part of the numbers
}

}  // namespace

TEST_CASE("with shards, parameters have the same bits on 1, 2, 4 and 8 ranks") {
  const test::plane plane{.samples = 64};
  same_on_all(test::line<float>{}, plane, optim::sgd{.learning_rate = 0.05, .momentum = 0.9});
  // Running statistics travel the same way; each shard is normalised by itself.
  same_on_all(nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{8}, nn::relu, nn::linear{3}}, {6}, 3}, test::clusters{.samples = 64}, optim::sgd{.learning_rate = 0.1});
  const nn::gpt language{.layers = 2, .heads = 2, .width = 8, .context = 6, .vocabulary = 11, .dropout = 0.1f};
  same_on_all(language, test::counting{.samples = 64}, optim::clipped{optim::adamw{.learning_rate = 0.02}, 0.5});
}

TEST_CASE("shards that do not fit are refused") {
  const auto make = [](int ranks, parallel::reproducible how, std::size_t batch) {
    comm::run_ranks(ranks, [&](comm::threads& world) {
      trainer run{test::line<float>{}, world, optim::sgd{}, how};
      run.fit(test::plane{.samples = 64}, {.steps = 1, .batch = batch});
    });
  };
  CHECK_NOTHROW(make(2, {.shards = 4}, 8));
  CHECK_THROWS_AS(make(3, {.shards = 4}, 8), usage_error);
  CHECK_THROWS_AS(make(2, {.shards = 4}, 9), usage_error);
  CHECK_THROWS_AS(make(1, {.shards = 0}, 8), usage_error);
}
