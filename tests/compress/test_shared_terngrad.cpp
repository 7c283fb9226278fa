// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <entrain/compress/shared_terngrad.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "exchange_by_hand.hpp"
#include "quantisers.hpp"

using namespace entrain;
using compress::shared_terngrad;

namespace {

std::vector<std::vector<double>> gradients(std::size_t n, std::size_t ranks, std::uint32_t first) {
  std::vector<std::vector<double>> g;
  for (std::size_t r = 0; r < ranks; ++r) {
    g.push_back(test::gaussian<double>(n, first + std::uint32_t(r)));
    for (double& v : g.back()) v *= 1 + double(r);  // scales differ
  }
  return g;
}

// What the exchange must deliver, in plain words: every rank rounds by the largest scale of all.
std::vector<double> plain(const std::vector<std::vector<double>>& g, double clip, std::uint64_t step) {
  const std::size_t n = g[0].size();
  double scale = 0;
  for (const auto& mine : g) {
    const double limit = clip > 0 ? clip * std::sqrt(test::squares(mine) / double(n)) : 1e300;
    double most = 0;
    for (const double v : mine) most = std::max(most, std::abs(v));
    scale = std::max(scale, std::min(most, limit));
  }
  std::vector<double> sum(n);
  for (std::size_t r = 0; r < g.size(); ++r) {
    const compress::detail::random_words words(compress::context{.seed = 11, .step = step, .rank = std::uint32_t(r)});
    for (std::size_t i = 0; i < n; ++i) {
      const double v = std::clamp(g[r][i], -scale, scale), chance = std::abs(v) / scale, u = double(words[std::uint32_t(i)] >> 9) / (1 << 23);
      if (v >= 0 ? u >= 1 - chance : u < chance) sum[i] += v < 0 ? -scale : scale;
    }
  }
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("shared_terngrad keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(shared_terngrad{});
  testing::check_compressor<TestType>(shared_terngrad{.clip = 0});
}

TEST_CASE("shared_terngrad equals its plain form on any number of ranks", "[compress]") {
  for (const double clip : {0.0, 2.5})
    for (const std::size_t ranks : {1, 2, 7, 8, 127}) {
      CAPTURE(clip, ranks);
      const std::size_t n = ranks > 8 ? 1100 : 3001;
      test::by_hand<double, shared_terngrad> group(shared_terngrad{.clip = clip}, n, ranks);
      for (std::uint64_t step = 0; step < 3; ++step) {
        const auto g = gradients(n, ranks, std::uint32_t(1000 * step));
        const auto found = group.step(g, step);
        REQUIRE(test::squared_distance(found[0], plain(g, clip, step)) <= 1e-18 * test::squares(found[0]));
        for (const auto& other : found) REQUIRE(other == found[0]);
      }
    }
}

TEST_CASE("the largest sums of codes stay in their fields", "[compress]") {
  for (const std::size_t ranks : {1, 7, 127})
    for (const double sign : {1.0, -1.0}) {
      test::by_hand<double, shared_terngrad> group(shared_terngrad{.clip = 0}, 21, ranks);
      const auto found = group.step(std::vector<std::vector<double>>(ranks, std::vector<double>(21, sign * 0.5)), 0);
      for (const double v : found[0]) CHECK(v == sign * 0.5 * double(ranks));
    }
}

TEST_CASE("shared_terngrad: unbiased, with the stated error, and the stated bytes", "[compress]") {
  const std::size_t n = 400, ranks = 3;
  const int draws = 3000;
  const auto g = gradients(n, ranks, 5);
  double scale = 0, expected = 0;
  std::vector<double> sum(n), mean(n);
  for (const auto& mine : g)
    for (const double v : mine) scale = std::max(scale, std::abs(v));
  for (const auto& mine : g)
    for (std::size_t i = 0; i < n; ++i) sum[i] += mine[i], expected += scale * std::abs(mine[i]) - mine[i] * mine[i];
  double error = 0;
  test::by_hand<double, shared_terngrad> group(shared_terngrad{.clip = 0}, n, ranks);
  for (int d = 0; d < draws; ++d) {
    const auto found = group.step(g, std::uint64_t(d))[0];
    error += test::squared_distance(found, sum) / draws;
    for (std::size_t i = 0; i < n; ++i) mean[i] += found[i] / draws;
  }
  CHECK(error == Approx(expected).epsilon(0.01));
  CHECK(test::squared_distance(mean, sum) == Approx(expected / draws).epsilon(0.3));  // nothing but noise is left

  const shared_terngrad c;
  const auto bytes = [&](std::size_t count, std::size_t p, int round) {
    compress::block b(count);
    b.ranks = p;
    return c.round_count<float>(b, round);
  };
  CHECK(bytes(1001, 4, 0) == 16);
  CHECK(bytes(1001, 1, 1) == 251);
  CHECK(bytes(1001, 7, 1) == 501);
  CHECK(bytes(1001, 8, 1) == 1001);
  CHECK(bytes(0, 8, 0) + bytes(0, 8, 1) == 0);
  compress::block crowd(10);
  crowd.ranks = 128;
  CHECK_THROWS_AS(c.make_state<float>(crowd), usage_error);
}
