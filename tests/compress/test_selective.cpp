// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include <entrain/comm/simulated.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/after.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/selective.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"

// compress::selective: which blocks it takes, as a policy and as a rule, and what training with it does.

using namespace entrain;
using compress::block;
using compress::wires;

namespace {

block of(std::size_t n, std::size_t ranks = 4) {
  block b(n);
  b.ranks = ranks;
  return b;
}

// 1 us a message, 1 GB/s. Halving 4 n bytes on 4 ranks saves 0.75 * 4 n ns = 3 n ns of 6 n ns.
const wires gigabyte = wires::uniform(1e-6, 1e9);
const compress::cast<bfloat16> half{};

std::vector<float> train(const auto& policy) {
  std::vector<float> reached;
  comm::simulate(4, [&](comm::simulated& world) {
    trainer run{nn::mlp{.inputs = 6, .hidden = {40}, .outputs = 3}, optim::sgd{.learning_rate = 0.1}, world, policy};
    run.fit(test::clusters{}, {.steps = 10, .batch = 12, .seed = 3, .prefetch = false});
    if (world.rank() == 0) reached.assign(run.parameters().begin(), run.parameters().end());
  });
  return reached;
}

}  // namespace

TEST_CASE("a block is compressed only where coding costs less than it saves", "[compress][selective]") {
  CHECK(compress::selective{half, gigabyte, {.encode = 1e-9, .decode = 1.9e-9}}.takes(of(100000)));
  CHECK_FALSE(compress::selective{half, gigabyte, {.encode = 1e-9, .decode = 2.1e-9}}.takes(of(100000)));
  // A fixed cost: from 3 n ns = 30 us on, that is 10000 values.
  const compress::selective fixed{half, gigabyte, {.fixed = 30e-6}};
  CHECK_FALSE(fixed.takes(of(9000)));
  CHECK(fixed.takes(of(11000)));
  CHECK_FALSE(fixed.takes(of(0)));
  CHECK_FALSE(fixed.takes(of(1 << 20, 1)));  // alone, nothing travels
  // Faster wires, fewer blocks.
  CHECK_FALSE(compress::selective{half, wires::uniform(1e-6, 1e10), {.fixed = 30e-6}}.takes(of(11000)));
  // Gathered encodings are decoded p times: what pays on 4 ranks need not on 64.
  const compress::selective sparse{compress::top_k{.ratio = 0.05}, gigabyte, {.encode = 1e-9, .decode = 1e-10}};
  CHECK(sparse.takes(of(100000, 4)));
}

TEST_CASE("it is a policy, a rule and a regular value", "[compress][selective]") {
  const compress::selective fixed{half, gigabyte, {.fixed = 30e-6}};
  static_assert(compress::compression<decltype(fixed), float>);
  CHECK(compress::leaf_of(fixed, of(11000), 7) == 0);
  CHECK(compress::leaf_of(fixed, of(9000), 7) == 1);

  const compress::per_layer rules{compress::selective{compress::top_k{}, gigabyte, {.fixed = 1e-3}}, fixed, compress::none{}};
  static_assert(compress::leaf_count<decltype(rules)> == 3);  // as a rule it has no dense leaf of its own
  CHECK(compress::leaf_of(rules, of(1 << 20), 0) == 0);
  CHECK(compress::leaf_of(rules, of(20000), 0) == 1);
  CHECK(compress::leaf_of(rules, of(100), 0) == 2);

  const compress::after later{5, fixed};
  CHECK(compress::leaf_of(later, of(11000), 4) == 0);
  CHECK(compress::leaf_of(later, of(11000), 5) == 1);
  CHECK(compress::leaf_of(later, of(9000), 5) == 2);

  auto copy = fixed;
  CHECK(copy == fixed);
  copy.costs.fixed = 1;
  CHECK_FALSE(copy == fixed);
  CHECK(describe(fixed).find("selective{cast<bf16>, wires{wires, 1e-06 s, 1e+09 bytes/s}, costs{fixed 3e-05") == 0);
}

TEST_CASE("measured on rank 0, it decides alike on every rank", "[compress][selective]") {
  std::vector<std::string> said(4);
  comm::run_ranks(4, [&](comm::threads& world) {
    const compress::selective measured{compress::error_feedback{compress::top_k{}}, world, 4096};
    said[std::size_t(world.rank())] = measured.describe();
  });
  for (const auto& text : said) CHECK(text == said[0]);
  CHECK(said[0].find("threads") != std::string::npos);
}

TEST_CASE("training goes as the decisions say", "[compress][selective]") {
  const compress::error_feedback sparse{compress::top_k{.ratio = 0.1}};
  const auto least = [&](std::size_t values) { return compress::per_layer{compress::rule{sparse, {.at_least = values}}, compress::none{}}; };
  const auto dense = train(compress::none{});
  CHECK((train(sparse) != dense));
  // Blocks of 240, 40, 120 and 3 values. Nothing pays; all but one pair for three values; the largest alone.
  CHECK((train(compress::selective{sparse, gigabyte, {.fixed = 1}}) == dense));
  CHECK((train(compress::selective{sparse, gigabyte, {}}) == train(least(10))));
  const compress::selective large{sparse, gigabyte, {.fixed = 1e-6}};
  CHECK(large.takes(of(240)));
  CHECK_FALSE(large.takes(of(120)));
  const auto some = train(large);
  CHECK((some != dense));
  CHECK((some == train(least(200))));
}
