// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <vector>

#include <entrain/compress/adaptive_threshold.hpp>
#include <entrain/compress/dragonn.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/compress/variance_based.hpp>
#include <entrain/compress/warm_up.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "exchange_by_hand.hpp"
#include "sparse.hpp"

using namespace entrain;
using compress::warm_up;

TEMPLATE_TEST_CASE("warm-up keeps the laws in every stage", "[compress]", float, double) {
  using namespace compress;
  for (const std::uint64_t steps_each : {0, 1, 3, 100}) {  // the laws encode in step 5
    testing::check_compressor<TestType>(warm_up{top_k{.ratio = 0.01}, {.steps_each = steps_each}});
    testing::check_compressor<TestType>(warm_up{sampled_top_k{.ratio = 0.01}, {.steps_each = steps_each}});
  }
  testing::check_compressor<TestType>(warm_up{adaptive_threshold{.ratio = 0.01}, {.steps_each = 2}});
  testing::check_compressor<TestType>(warm_up{dragonn{.ratio = 0.01}, {.steps_each = 2}});
  testing::check_compressor<TestType>(warm_up{variance_based{.ratio = 0.1}, {.steps_each = 2}});
  testing::check_error_feedback<TestType>(error_feedback{warm_up{top_k{.ratio = 0.01}, {.steps_each = 3}}});
}

TEST_CASE("the kept share falls stage by stage to the compressor's own", "[compress]") {
  const std::size_t n = 10000;
  const warm_up c{compress::top_k{.ratio = 0.001}, {.steps_each = 10}};
  CHECK(c.wire_count<float>(n) == 2500);
  auto state = c.make_state<float>(n);
  const auto sent = [&](std::uint64_t step) { return sparse::encode(c, state, {.step = step}, sparse::gaussian<float>(n, step)).size(); };
  const std::size_t expected[] = {2500, 625, 157, 40, 10, 10};
  for (std::uint64_t stage = 0; stage < 6; ++stage) {
    CHECK(sent(10 * stage) == expected[stage]);
    CHECK(sent(10 * stage + 9) == expected[stage]);
  }
  CHECK(sent(1u << 30) == 10);
  // No stage keeps less than the compressor would.
  const warm_up wide{compress::top_k{.ratio = 0.05}, {.steps_each = 1}};
  auto other = wide.make_state<float>(n);
  CHECK(sparse::encode(wide, other, {.step = 3}, sparse::gaussian<float>(n, 1)).size() == 500);
}

TEST_CASE("a warm-up's stages are those that were named", "[compress]") {
  const warm_up two{compress::top_k{.ratio = 0.01}, {.steps_each = 5, .ratios = {0.5, 0.1}}};
  CHECK(two.stages() == 2);
  CHECK(two.wire_count<double>(100) == 50);
  CHECK(two.in_stage(two.stage_at(4)).ratio == 0.5);
  CHECK(two.in_stage(two.stage_at(5)).ratio == 0.1);
  CHECK(two.in_stage(two.stage_at(10)).ratio == 0.01);
  CHECK(two.describe() == "warm_up{top_k{ratio 0.01}, steps_each = 5, ratios = {0.5, 0.1}}");
  CHECK(two == warm_up{compress::top_k{.ratio = 0.01}, {.steps_each = 5, .ratios = {0.5, 0.1}}});
  CHECK_FALSE(two == warm_up{compress::top_k{.ratio = 0.01}});
  const warm_up none{compress::top_k{.ratio = 0.01}, {.steps_each = 0}};
  CHECK(none.wire_count<double>(100) == 1);
  CHECK(none.stage_at(77) == 0);
}

TEST_CASE("error feedback through a warm-up equals its plain form over 20 steps on 3 ranks", "[compress]") {
  const std::size_t n = 400, ranks = 3;
  const compress::error_feedback c{warm_up{compress::top_k{.ratio = 0.01}, {.steps_each = 4, .ratios = {0.25, 0.0625, 0.02}}}};
  const std::size_t kept[] = {100, 25, 8, 4, 4};
  test::by_hand<double, decltype(c)> hand(c, n, ranks);
  std::vector<std::vector<double>> residual(ranks, std::vector<double>(n));
  for (std::uint64_t step = 0; step < 20; ++step) {
    std::vector<std::vector<double>> g;
    std::vector<double> expected(n);
    for (std::size_t r = 0; r < ranks; ++r) {
      g.push_back(sparse::gaussian<double>(n, 50 * step + r));
      for (std::size_t i = 0; i < n; ++i) residual[r][i] += g[r][i];
      for (const std::uint32_t i : sparse::largest(residual[r], kept[step / 4])) expected[i] += residual[r][i], residual[r][i] = 0;
    }
    const auto found = hand.step(g, step).front();
    for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == Approx(expected[i]).margin(1e-12));
  }
}

TEST_CASE("the sparse way without a context decodes any stage", "[compress]") {
  const warm_up c{compress::dragonn{.ratio = 0.01}, {.steps_each = 5}};
  auto state = c.make_state<float>(1000);
  for (const std::uint64_t step : {0, 7, 50}) {
    const auto wire = sparse::encode(c, state, {.step = step}, sparse::gaussian<float>(1000, step));
    std::vector<float> with(1000), without(1000);
    c.decode_add({.step = step}, std::span<const compress::sparse_entry<float>>(wire), std::span<float>(with), 1.0f);
    c.decode_add({}, std::span<const compress::sparse_entry<float>>(wire), std::span<float>(without), 1.0f);
    CHECK(with == without);
    CHECK(!wire.empty());
  }
}
