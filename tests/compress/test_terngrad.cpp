// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/terngrad.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "quantisers.hpp"

using namespace entrain;
using compress::terngrad;
using compress::trits;

namespace {

std::vector<double> plain_terngrad(std::vector<double> g, double clip, const compress::context& key) {
  const double sigma = std::sqrt(test::squares(g) / double(g.size()));
  double scale = 0;
  for (double& v : g) {
    if (clip > 0) v = std::min(std::max(v, -clip * sigma), clip * sigma);
    scale = std::max(scale, std::abs(v));
  }
  const compress::detail::random_words words(key);
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double chance = std::abs(g[i]) / scale, u = double(words[std::uint32_t(i)] >> 9) / (1 << 23);
    const bool kept = g[i] >= 0 ? u >= 1 - chance : u < chance;
    g[i] = !kept ? 0 : g[i] < 0 ? -scale : scale;
  }
  return g;
}

double mean_error(const terngrad& c, const std::vector<float>& g, int draws) {
  double sum = 0;
  for (int r = 0; r < draws; ++r) sum += test::squared_distance(test::coded(c, g, {std::uint64_t(r), 3}), g) / draws;
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("terngrad keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(terngrad{.clip = 0});
  testing::check_compressor<TestType>(terngrad{.clip = 0, .packing = trits::base3});
}

TEST_CASE("terngrad equals a plain implementation over 20 steps of training", "[compress]") {
  for (const terngrad& c : {terngrad{}, terngrad{.clip = 0}, terngrad{.packing = trits::base3}}) {
    constexpr std::size_t n = 3001;
    const auto target = test::gaussian<double>(n, 1);
    std::vector<double> ours(n), plain(n);
    for (std::uint64_t step = 0; step < 20; ++step) {
      std::vector<double> g(n), h(n);
      for (std::size_t i = 0; i < n; ++i) g[i] = ours[i] - target[i], h[i] = plain[i] - target[i];
      const compress::context key{7, step, 2, 1};
      const auto q = test::coded(c, g, key), r = plain_terngrad(h, c.clip, key);
      for (std::size_t i = 0; i < n; ++i) ours[i] -= 0.1 * q[i], plain[i] -= 0.1 * r[i];
      REQUIRE(test::squared_distance(ours, plain) < 1e-16);
    }
  }
}

TEST_CASE("both packings carry the same values", "[compress]") {
  for (const std::size_t n : {1, 2, 4, 5, 6, 7, 100, 1279, 1280, 1281, 5000}) {
    const auto g = test::gaussian<float>(n, 2);
    CHECK(test::coded(terngrad{}, g) == test::coded(terngrad{.packing = trits::base3}, g));
  }
}

// The relative spread of one draw is below 8 %: 1000 draws bring the mean within 1 % at four standard errors.
TEST_CASE("terngrad: E|q - g|^2 = s |g|_1 - |g|_2^2 within 1 %, and clipping reduces it", "[compress]") {
  for (std::uint32_t k = 0; k < 5; ++k) {
    const auto g = test::gaussian<float>(1000, k);
    float most = 0;
    for (const float v : g) most = std::max(most, std::abs(v));
    const double formula = double(most) * test::magnitudes(g) - test::squares(g);
    const double whole = mean_error(terngrad{.clip = 0}, g, 1000), clipped = mean_error(terngrad{}, g, 1000);
    CHECK(whole == Approx(formula).epsilon(0.01));
    CHECK(clipped < 0.9 * whole);  // with respect to the gradient before clipping
    CHECK(whole <= (1 - terngrad{.clip = 0}.contraction(1000)) * test::squares(g));
  }
}

TEST_CASE("terngrad: the mean of many draws is the clipped gradient", "[compress]") {
  auto g = test::gaussian<float>(200, 4);
  g[17] = 20;
  const float limit = terngrad{}.scale_of<float>(g);
  CHECK(double(limit) == Approx(2.5 * std::sqrt(test::squares(g) / 200)));
  std::vector<double> mean(200);
  constexpr int draws = 20000;
  for (std::uint32_t r = 0; r < draws; ++r) {
    const auto q = test::coded(terngrad{}, g, {1, r, 0, r % 8});
    for (std::size_t i = 0; i < 200; ++i) mean[i] += double(q[i]) / draws;
  }
  // Five standard errors of a mean of `draws`: at most 5 limit / (2 sqrt(draws)).
  for (std::size_t i = 0; i < 200; ++i) {
    const double clipped = double(std::min(limit, std::max(-limit, g[i])));
    CHECK(std::abs(mean[i] - clipped) < 5 * double(limit) / 2 / std::sqrt(draws));
  }
  CHECK(mean[17] == Approx(double(limit)));
}

TEST_CASE("terngrad: bytes are those of the formula", "[compress]") {
  for (const std::size_t n : {1, 3, 4, 5, 6, 1000, 4099}) {
    CHECK(terngrad{}.wire_count<float>(n) == (2 * n + 7) / 8 + 4);
    CHECK(terngrad{.packing = trits::base3}.wire_count<float>(n) == (n + 4) / 5 + 4);
    CHECK(terngrad{}.wire_count<double>(n) == (2 * n + 7) / 8 + 8);
  }
  CHECK(terngrad{}.wire_count<float>(0) == 0);
  CHECK(describe(terngrad{}) == "terngrad{clip 2.5, packing two_bits}");
}

TEMPLATE_TEST_CASE("terngrad at the ends of the number format", "[compress]", float, double) {
  for (const auto& x : test::ends_of_the_format<TestType>())
    for (const terngrad& c : {terngrad{}, terngrad{.clip = 0}}) {
      const auto q = test::coded(c, x);
      const TestType scale = c.scale_of<TestType>(x);
      bool equal = true;
      for (const auto v : x) equal = equal && v == x[0];
      for (std::size_t i = 0; i < x.size(); ++i) {
        CHECK((q[i] == 0 || std::abs(q[i]) == scale));
        CHECK(double(q[i]) * double(x[i]) >= 0);
        if (equal) CHECK(std::abs(double(q[i]) - double(x[i])) <= 1e-6 * std::abs(double(x[i])));
      }
    }
}
