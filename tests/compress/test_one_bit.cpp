// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/one_bit.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "quantisers.hpp"

using namespace entrain;
using compress::block;
using compress::error_feedback;
using compress::one_bit;

namespace {

// Column after column: the mean of what is not negative, the mean of what is.
std::vector<double> plain_one_bit(const std::vector<double>& z, std::size_t columns) {
  std::vector<double> out(z.size());
  for (std::size_t c = 0; c < columns; ++c)
    for (const bool negative : {false, true}) {
      double sum = 0, members = 0;
      for (std::size_t i = c; i < z.size(); i += columns)
        if ((z[i] < 0) == negative) sum += z[i], ++members;
      for (std::size_t i = c; i < z.size(); i += columns)
        if ((z[i] < 0) == negative) out[i] = sum / members;
    }
  return out;
}

template <class T>
std::vector<T> coded(const std::vector<T>& x, const block& b) {
  return test::decode<T>(one_bit{}, test::encode<T>(one_bit{}, x, {}, b), {}, b);
}

}  // namespace

TEMPLATE_TEST_CASE("one_bit keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(one_bit{});
  testing::check_compressor<TestType>(error_feedback{one_bit{}});
}

TEST_CASE("one_bit loses nothing under error feedback", "[compress]") {
  testing::check_error_feedback<double>(error_feedback{one_bit{}});
  testing::check_error_feedback<float>(error_feedback{one_bit{}});
}

TEST_CASE("one_bit with error feedback equals a plain implementation over 20 steps", "[compress]") {
  const error_feedback<one_bit> c;
  for (const block& b : {block(3000), block(100, 30), block(30, 100), block(1500, 2), block(3000, 1), block(2, 1500)}) {
    auto state = c.make_state<double>(b);
    const compress::context key{.rows = b.rows, .columns = b.columns};
    std::vector<double> residual(b.count), ours(b.count), plain(b.count);
    for (std::uint32_t step = 0; step < 20; ++step) {
      auto g = test::gaussian<double>(b.count, step);
      std::vector<double> h(b.count);
      for (std::size_t i = 0; i < b.count; ++i) h[i] = residual[i] + g[i];
      std::vector<std::uint8_t> wire(c.wire_count<double>(b));
      c.encode(state, key, std::span(g), std::span(wire));
      c.decode_add(key, std::span<const std::uint8_t>(wire), std::span(ours), 0.1);
      const auto q = plain_one_bit(h, b.matrix() ? b.columns : 1);
      for (std::size_t i = 0; i < b.count; ++i) residual[i] = h[i] - q[i], plain[i] += 0.1 * q[i];
      REQUIRE(test::squared_distance(ours, plain) < 1e-20);
    }
  }
}

// The derivative of the squared error with respect to each reconstruction value is 0, and no change of one makes it smaller.
TEST_CASE("one_bit: the reconstruction of a column is the least-squares optimum for its bits", "[compress]") {
  const block b(200, 7);
  for (std::uint32_t k = 0; k < 20; ++k) {
    auto z = test::gaussian<double>(b.count, k);
    for (std::size_t i = 0; i < b.count; ++i) z[i] = (z[i] + 0.3 * double(i % 7)) * double(1 + i % 7);
    const auto q = coded(z, b);
    for (std::size_t c = 0; c < b.columns; ++c)
      for (const bool negative : {false, true}) {
        double slope = 0, error = 0, higher = 0, lower = 0;
        for (std::size_t i = c; i < b.count; i += b.columns)
          if ((z[i] < 0) == negative) {
            const double left = z[i] - q[i];
            slope += left, error += left * left, higher += (left - 1e-3) * (left - 1e-3), lower += (left + 1e-3) * (left + 1e-3);
          }
        CHECK(std::abs(slope) < 1e-9);
        CHECK((error < higher && error < lower));
      }
  }
}

TEST_CASE("one_bit: the error is at most what the columns allow, and no more than that of scaled signs", "[compress]") {
  for (std::uint32_t k = 0; k < 200; ++k) {
    const auto z = test::gaussian<double>(1000, k);
    for (const block& b : {block(1000), block(10, 100), block(100, 10)}) {
      const double error = test::squared_distance(coded(z, b), z), all = test::squares(z);
      CHECK(error <= (1 - one_bit{}.contraction(b)) * all * (1 + 1e-12));
      CHECK(error <= all - test::magnitudes(z) * test::magnitudes(z) / 1000 + 1e-9);
    }
  }
}

TEST_CASE("one_bit: a class without members is 0, bytes are those of the formula", "[compress]") {
  CHECK(coded(std::vector<float>{1, 2, 3}, 3) == std::vector<float>{2, 2, 2});
  CHECK(coded(std::vector<float>{-1, -2, -3}, 3) == std::vector<float>{-2, -2, -2});
  CHECK(coded(std::vector<float>{0, -0.0f, -3}, 3) == std::vector<float>{0, 0, -3});
  CHECK(coded(std::vector<float>{1, -1, 3, -5}, block(2, 2)) == std::vector<float>{2, -3, 2, -3});
  for (const std::size_t n : {1, 7, 8, 9, 1000, 4099}) CHECK(one_bit{}.wire_count<float>(n) == (n + 7) / 8 + 8);
  CHECK(one_bit{}.wire_count<float>(block(100, 30)) == 3000 / 8 + 8 * 30);
  CHECK(one_bit{}.wire_count<float>(0) == 0);
}

TEMPLATE_TEST_CASE("one_bit at the ends of the number format", "[compress]", float, double) {
  for (const auto& x : test::ends_of_the_format<TestType>())
    for (const block& b : {block(x.size()), x.size() == 40 ? block(8, 5) : block(x.size())}) {
      const auto q = coded(x, b);
      for (std::size_t i = 0; i < x.size(); ++i) {
        CHECK(std::isfinite(double(q[i])));
        CHECK(double(q[i]) * double(x[i]) >= 0);
      }
    }
}
