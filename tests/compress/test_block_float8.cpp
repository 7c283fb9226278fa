// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <entrain/compress/block_float8.hpp>
#include <entrain/core/error.hpp>

#include "quantisers.hpp"

using namespace entrain;

namespace {

// All numbers of a format by its definition, then the nearest of them by search: nothing of core/small_float.hpp.
std::vector<double> numbers(int fraction_bits, int bias, unsigned largest) {
  std::vector<double> out;
  for (unsigned code = 0; code <= largest; ++code) {
    const unsigned fraction = code & ((1u << fraction_bits) - 1), exponent = code >> fraction_bits;
    out.push_back(exponent == 0 ? std::ldexp(double(fraction), 1 - bias - fraction_bits)
                                : std::ldexp(double(fraction + (1u << fraction_bits)), int(exponent) - bias - fraction_bits));
  }
  return out;
}

double distance_to_nearest(const std::vector<double>& sorted, double x) {
  const auto above = std::lower_bound(sorted.begin(), sorted.end(), x);
  double least = above == sorted.end() ? std::numeric_limits<double>::infinity() : *above - x;
  if (above != sorted.begin()) least = std::min(least, x - *(above - 1));
  return least;
}

template <class Format>
void check_nearest(int fraction_bits, int bias, unsigned largest) {
  const auto all = numbers(fraction_bits, bias, largest);
  for (const std::size_t n : {1, 2, 31, 32, 33, 127, 128, 129, 1000})
    for (const std::size_t size : {std::size_t(1), std::size_t(32), std::size_t(128), std::size_t(4096)}) {
      const auto x = test::gaussian<double>(n, 3);
      const auto q = test::coded(compress::block_float8<Format>{.block = size}, x);
      for (std::size_t first = 0; first < n; first += size) {
        const std::size_t last = std::min(n, first + size);
        double most = 0;
        for (std::size_t i = first; i < last; ++i) most = std::max(most, std::abs(x[i]));
        const double scale = most / all.back();
        for (std::size_t i = first; i < last; ++i) {
          REQUIRE(q[i] * x[i] >= 0);
          REQUIRE(distance_to_nearest(all, std::abs(q[i]) / scale) <= 1e-12 * all.back());  // a number of the format
          const double best = distance_to_nearest(all, std::abs(x[i]) / scale) * scale;     // and the nearest one
          REQUIRE(std::abs(q[i] - x[i]) <= best + 1e-6 * std::abs(x[i]));
        }
      }
    }
}

}  // namespace

TEST_CASE("block_float8 sends the nearest numbers of its format, found by search", "[compress]") {
  check_nearest<float8_e4m3>(3, 7, 0x7e);
  check_nearest<float8_e5m2>(2, 15, 0x7b);
}

TEST_CASE("block_float8: a block's values are within the stated relative error", "[compress]") {
  const auto x = test::gaussian<float>(4096, 6);
  for (const std::size_t size : {std::size_t(16), std::size_t(128), std::size_t(1024)}) {
    const compress::block_float8<> narrow{.block = size};
    const compress::block_float8<float8_e5m2> wide{.block = size};
    CHECK(test::squared_distance(test::coded(narrow, x), x) <= (1 - narrow.contraction(x.size())) * test::squares(x));
    CHECK(test::squared_distance(test::coded(wide, x), x) <= (1 - wide.contraction(x.size())) * test::squares(x));
    CHECK(1 - narrow.contraction(x.size()) < 0.005);  // a sixteenth, squared, and a little
  }
}

TEST_CASE("block_float8: bytes are those of the formula, and blocks without values are refused", "[compress]") {
  for (const std::size_t n : {1, 127, 128, 129, 1000, 4099}) {
    CHECK(compress::block_float8<>{}.wire_count<float>(n) == n + (n + 127) / 128 * 4);
    CHECK(compress::block_float8<>{}.wire_count<double>(n) == n + (n + 127) / 128 * 8);
  }
  CHECK(compress::block_float8<>{}.wire_count<float>(0) == 0);
  CHECK_THROWS_AS(compress::block_float8<>{.block = 0}.make_state<float>(8), usage_error);
  CHECK(compress::block_float8<>{}.describe() == "block_float8<f8_e4m3>{block 128}");
}

TEMPLATE_TEST_CASE("block_float8 at the ends of the number format", "[compress]", float, double) {
  const compress::block_float8<> c;
  for (const auto& x : test::ends_of_the_format<TestType>()) {
    const auto q = test::coded(c, x);
    TestType most = 0;
    for (const auto v : x) most = std::max(most, std::abs(v));
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(std::isfinite(q[i]));
      CHECK(double(q[i]) * double(x[i]) >= 0);
      CHECK(std::abs(q[i]) <= most * TestType(1.0001));
      if (std::abs(x[i]) == most && most > std::numeric_limits<TestType>::min() * TestType(1000))  // the largest arrives whole
        CHECK(std::abs(double(q[i]) - double(x[i])) <= 1e-5 * double(most));
    }
  }
}
