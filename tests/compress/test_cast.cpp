// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include <entrain/compress/block_float8.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/natural.hpp>
#include <entrain/compress/stochastic_cast.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/testing/compressor_laws.hpp>

using namespace entrain;

TEMPLATE_TEST_CASE("formats of 8 and 16 bits keep the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::cast<float16>{});
  testing::check_compressor<TestType>(compress::cast<float8_e5m2>{});
  testing::check_compressor<TestType>(compress::cast<float8_e4m3>{});
  testing::check_compressor<TestType>(compress::stochastic_cast<bfloat16>{});
  testing::check_compressor<TestType>(compress::stochastic_cast<float16>{});
  testing::check_compressor<TestType>(compress::natural{});
  testing::check_compressor<TestType>(compress::block_float8<>{});
  testing::check_compressor<TestType>(compress::block_float8<float8_e5m2>{.block = 32});
}

TEST_CASE("the processor's instructions for float16 give the same bits as the arithmetic, at every length", "[compress]") {
  if (!compress::detail::to_halves(nullptr, 0, nullptr)) return;  // this processor has none
  // Every 251st float: all exponents, both signs, NaNs with and without payload.
  std::vector<float> values;
  for (std::uint64_t word = 0; word < (1ull << 32); word += 251) values.push_back(std::bit_cast<float>(std::uint32_t(word)));
  for (const std::uint32_t word : {0x00000000u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7f800001u, 0x7fc00000u, 0xffffffffu, 0x477fe000u, 0x477ff000u, 0x33000000u, 0x33000001u, 0x00000001u})
    values.push_back(std::bit_cast<float>(word));
  std::vector<float16> codes(values.size());
  compress::detail::to_halves(values.data(), values.size(), codes.data());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) wrong += codes[i].bits != float16(values[i]).bits;
  CHECK(wrong == 0);

  std::vector<float16> all(1 << 16);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = std::uint16_t(i);
  std::vector<float> sums(all.size());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = float(i % 17) - 8;
  auto found = sums;
  compress::detail::add_halves(all.data(), all.size(), 0.7f, found.data());
  for (std::size_t i = 0; i < all.size(); ++i) {
    volatile float product = 0.7f * float(all[i]);  // rounded by itself
    const float expected = sums[i] + product;
    wrong += std::isnan(expected) ? !std::isnan(found[i]) : found[i] != expected;
  }
  CHECK(wrong == 0);
  for (std::size_t n = 0; n <= 33; ++n) {
    std::vector<float16> part(n + 1);
    compress::detail::to_halves(values.data() + 5000000, n, part.data());
    for (std::size_t i = 0; i < n; ++i) wrong += part[i].bits != float16(values[5000000 + i]).bits;
    wrong += part[n].bits != 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("casts with error feedback lose nothing", "[compress]") {
  testing::check_error_feedback<double>(compress::error_feedback{compress::cast<float8_e4m3>{}});
  testing::check_error_feedback<double>(compress::error_feedback{compress::block_float8<>{}});
}

TEST_CASE("bytes of formats are those of the documentation", "[compress]") {
  CHECK(compress::natural{}.wire_count<float>(1001) == 1001 + 126);
  CHECK(compress::block_float8<>{}.wire_count<float>(1001) == 1001 + 8 * 4);
  CHECK(compress::cast<float8_e4m3>{}.wire_count<float>(1001) == 1001);
}

TEST_CASE("natural compression gives the neighbouring powers of two, with the stated mean and error", "[compress]") {
  const std::vector<float> x{3.0f, -0.7f, 1.0f, 0.0f, 1e-3f, -5e4f, 1e-40f};
  const int draws = 20000;
  std::vector<double> mean(x.size()), error(x.size());
  for (int d = 0; d < draws; ++d) {
    auto copy = x;
    std::vector<std::uint8_t> wire(compress::natural{}.wire_count<float>(x.size()));
    compress::no_state none;
    std::vector<float> out(x.size());
    compress::natural{}.encode(none, {.seed = 1, .step = std::uint64_t(d)}, std::span<float>(copy), std::span(wire));
    compress::natural{}.decode_add({}, std::span<const std::uint8_t>(wire), std::span<float>(out), 1.0f);
    for (std::size_t i = 0; i < x.size(); ++i) {
      int exponent;
      REQUIRE((out[i] == 0 || std::abs(std::frexp(out[i], &exponent)) == 0.5f));
      REQUIRE(std::abs(out[i]) <= std::max(2 * std::abs(x[i]), 0x1p-126f));
      mean[i] += double(out[i]) / draws, error[i] += std::pow(double(out[i]) - double(x[i]), 2) / draws;
    }
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(std::abs(mean[i] - double(x[i])) <= 5 * std::sqrt(error[i] / draws) + 1e-10 * std::abs(double(x[i])));
    if (std::abs(x[i]) > 1e-30f) CHECK(error[i] <= 1.1 * double(x[i]) * double(x[i]) / 8);
  }
}

TEST_CASE("stochastic rounding is right in the mean, also between the least numbers", "[compress]") {
  const auto check = [](auto wire_value, std::vector<float> x) {
    using W = decltype(wire_value);
    const compress::stochastic_cast<W> c;
    const int draws = 20000;
    std::vector<double> mean(x.size()), squares(x.size());
    for (int d = 0; d < draws; ++d) {
      auto copy = x;
      std::vector<W> wire(x.size());
      compress::no_state none;
      std::vector<float> out(x.size());
      c.encode(none, {.seed = 2, .step = std::uint64_t(d)}, std::span<float>(copy), std::span(wire));
      c.decode_add({}, std::span<const W>(wire), std::span<float>(out), 1.0f);
      for (std::size_t i = 0; i < x.size(); ++i) mean[i] += double(out[i]) / draws, squares[i] += double(out[i]) * double(out[i]) / draws;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      INFO(x[i] << " became " << mean[i]);
      CHECK(std::abs(mean[i] - double(x[i])) <= 5 * std::sqrt(std::max(0.0, squares[i] - mean[i] * mean[i]) / draws) + 1e-6 * std::abs(double(x[i])));
    }
  };
  check(bfloat16(), {1.001f, -3.14159f, 1e-20f, 0.0f, 65535.5f});
  check(float16(), {1.0001f, -3.14159f, 1e-6f, 3e-8f, 6.1e-5f, 1000.3f});
  check(float8_e4m3(), {1.03f, -3.1f, 0.001f, 0.0157f, 300.0f});
  check(float8_e5m2(), {1.03f, -3.1f, 1e-5f, 3e4f});
}

TEST_CASE("block scaling keeps the stated error of every value", "[compress]") {
  const std::size_t n = 1000;
  auto x = testing::detail::gaussian<float>(n, 4);
  for (std::size_t i = 0; i < n; ++i) x[i] *= std::ldexp(1.0f, int(i / 100) * 7 - 30);  // ten ranges of size
  const compress::block_float8<> c{.block = 100};
  std::vector<std::uint8_t> wire(c.wire_count<float>(n));
  compress::no_state none;
  auto copy = x;
  std::vector<float> out(n);
  c.encode(none, {}, std::span<float>(copy), std::span(wire));
  c.decode_add({}, std::span<const std::uint8_t>(wire), std::span<float>(out), 1.0f);
  for (std::size_t b = 0; b < n; b += 100) {
    float most = 0;
    for (std::size_t i = b; i < b + 100; ++i) most = std::max(most, std::abs(x[i]));
    for (std::size_t i = b; i < b + 100; ++i) REQUIRE(std::abs(out[i] - x[i]) <= 1.0001f * std::max(std::abs(x[i]) / 16, most / 448 * 0x1p-10f));
  }
}
