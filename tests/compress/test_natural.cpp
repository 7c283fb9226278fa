// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <entrain/compress/natural.hpp>

#include "quantisers.hpp"

using namespace entrain;
using compress::natural;

namespace {

// 2^a with a = floor(log2 |x|) or, by chance, 2^(a + 1), with nothing of the bits of a float.
std::vector<double> plain_natural(const std::vector<double>& x, const compress::context& key) {
  const compress::detail::random_words words(key);
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double size = std::abs(double(float(x[i])));
    if (size == 0) continue;
    const double below = std::exp2(std::floor(std::log2(size))), chance_above = size / below - 1;
    const double u = double(words[std::uint32_t(i)] >> 9) / (1 << 23);
    out[i] = std::copysign(u >= 1 - chance_above ? 2 * below : below, x[i]);
  }
  return out;
}

}  // namespace

TEST_CASE("natural compression equals a plain implementation over 20 steps of training", "[compress]") {
  constexpr std::size_t n = 3001;
  const auto target = test::gaussian<double>(n, 1);
  std::vector<double> ours(n), plain(n);
  for (std::uint64_t step = 0; step < 20; ++step) {
    std::vector<double> g(n), h(n);
    for (std::size_t i = 0; i < n; ++i) g[i] = ours[i] - target[i], h[i] = plain[i] - target[i];
    const compress::context key{7, step, 2, 1};
    const auto q = test::coded(natural{}, g, key), r = plain_natural(h, key);
    for (std::size_t i = 0; i < n; ++i) ours[i] -= 0.1 * q[i], plain[i] -= 0.1 * r[i];
    REQUIRE(test::squared_distance(ours, plain) < 1e-16);
  }
}

// Of one value 2^a (1 + f) the error is f (1 - f) 4^a in the mean, so at most 1/8 of the square, at f = 1/3: some 0.09 for Gaussians.
TEST_CASE("natural compression: the error is the formula's, below an eighth of the square", "[compress]") {
  const auto g = test::gaussian<float>(1000, 2);
  double formula = 0, measured = 0;
  for (const float v : g) {
    const double below = std::exp2(std::floor(std::log2(std::abs(double(v)))));
    formula += (std::abs(double(v)) - below) * (2 * below - std::abs(double(v)));
  }
  constexpr int draws = 1000;
  for (int r = 0; r < draws; ++r) measured += test::squared_distance(test::coded(natural{}, g, {std::uint64_t(r), 3}), g) / draws;
  CHECK(measured == Approx(formula).epsilon(0.01));
  CHECK(formula <= test::squares(g) / 8);
  CHECK(natural{}.contraction(1000) == 7.0 / 8);
}

TEST_CASE("natural compression: the worst value has an error of an eighth of its square", "[compress]") {
  const std::vector<float> third(1000, 4.0f / 3);
  double measured = 0;
  for (int r = 0; r < 400; ++r) measured += test::squared_distance(test::coded(natural{}, third, {std::uint64_t(r), 1}), third) / 400;
  CHECK(measured == Approx(test::squares(third) / 8).epsilon(0.01));
}

TEST_CASE("natural compression: powers of two and zeros arrive as they were", "[compress]") {
  std::vector<float> x{0.0f, -0.0f};
  for (int e = -126; e <= 127; ++e) x.push_back(std::ldexp(e % 2 == 0 ? 1.0f : -1.0f, e));
  for (std::uint64_t step = 0; step < 50; ++step) REQUIRE(test::coded(natural{}, x, {1, step}) == x);
}

TEST_CASE("natural compression: doubles outside of the range of fp32 stay finite and keep their sign", "[compress]") {
  const std::vector<double> x{1e300, -1e300, 1e-300, -1e-300, std::numeric_limits<double>::max(), 3e38, 1e-40};
  for (std::uint64_t step = 0; step < 50; ++step) {
    const auto q = test::coded(natural{}, x, {1, step});
    for (std::size_t i = 0; i < x.size(); ++i) {
      REQUIRE(std::abs(q[i]) <= 0x1p127);
      REQUIRE(q[i] * x[i] >= 0);
    }
    REQUIRE(q[0] == 0x1p127);
    REQUIRE(q[1] == -0x1p127);
    REQUIRE(q[2] == 0);
  }
}

TEMPLATE_TEST_CASE("natural compression at the ends of the number format", "[compress]", float, double) {
  for (const auto& x : test::ends_of_the_format<TestType>()) {
    const auto q = test::coded(natural{}, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(std::isfinite(q[i]));
      CHECK(double(q[i]) * double(x[i]) >= 0);
    }
  }
}

TEST_CASE("natural compression: bytes are those of the formula", "[compress]") {
  for (const std::size_t n : {0, 1, 7, 8, 9, 1000, 4099}) {
    CHECK(natural{}.wire_count<float>(n) == n + (n + 7) / 8);
    CHECK(natural{}.wire_count<double>(n) == n + (n + 7) / 8);
  }
}
