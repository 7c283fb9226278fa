// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <entrain/core/small_float.hpp>

using namespace entrain;

namespace {

// The value of a code by the definition of the format.
double value_of(unsigned code, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const unsigned fraction = code & ((1u << fraction_bits) - 1), exponent = code >> fraction_bits;
  return exponent == 0 ? std::ldexp(double(fraction), 1 - bias - fraction_bits) : std::ldexp(double(fraction) + (1 << fraction_bits), int(exponent) - bias - fraction_bits);
}

template <class F>
void check(int exponent_bits, int fraction_bits, unsigned largest) {
  const unsigned sign = 1u << (exponent_bits + fraction_bits);
  for (unsigned code = 0; code <= largest; ++code) {
    const double exact = value_of(code, exponent_bits, fraction_bits);
    F x;
    x.bits = decltype(x.bits)(code);
    REQUIRE(double(float(x)) == exact);
    REQUIRE(F(float(exact)).bits == code);
    x.bits = decltype(x.bits)(code | sign);
    REQUIRE(double(float(x)) == -exact);
    REQUIRE(F(float(-exact)).bits == (code | sign));
    if (code == largest) break;
    // Halfway to the next: to even; a little less or more: to the nearer.
    const double middle = (exact + value_of(code + 1, exponent_bits, fraction_bits)) / 2;
    REQUIRE(F(float(middle)).bits == code + code % 2);
    REQUIRE(F(std::nextafter(float(middle), 0.0f)).bits == code);
    REQUIRE(F(std::nextafter(float(middle), 1e9f)).bits == code + 1);
  }
  const float most = float(value_of(largest, exponent_bits, fraction_bits));
  CHECK(largest_of<F> == most);
  for (const float large : {most * 1.01f, 1e30f, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()}) {
    CHECK(float(F(large)) == most);
    CHECK(float(F(-large)) == -most);
  }
  CHECK(std::isnan(float(F(std::nanf("1")))));
  CHECK(float(F(1e-30f)) == 0.0f);
  CHECK(std::signbit(float(F(-0.0f))));
}

}  // namespace

TEST_CASE("float16 and the 8-bit formats: every code, and every middle between two", "[core]") {
  check<float16>(5, 10, 0x7bff);
  check<float8_e4m3>(4, 3, 0x7e);
  check<float8_e5m2>(5, 2, 0x7b);
  float16 infinity;
  infinity.bits = 0x7c00;
  CHECK(std::isinf(float(infinity)));
  infinity.bits = 0x7c01;
  CHECK(std::isnan(float(infinity)));
}

TEST_CASE("binary16 is float16 up to its largest number, and infinite above", "[core]") {
  for (unsigned word = 0; word < 0x47800000u; word += 0x1b7) {
    const float x = std::bit_cast<float>(word);
    if (x >= 65520) break;
    REQUIRE(binary16(x).bits == float16(x).bits);
    REQUIRE(binary16(-x).bits == float16(-x).bits);
  }
  CHECK(float(binary16(std::nextafter(65520.0f, 0.0f))) == 65504.0f);
  for (const float large : {65520.0f, 1e30f, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()}) {
    CHECK(float(binary16(large)) == std::numeric_limits<float>::infinity());
    CHECK(float(binary16(-large)) == -std::numeric_limits<float>::infinity());
  }
  CHECK(std::isnan(float(binary16(std::nanf("1")))));
}

TEST_CASE("formats have names and sizes", "[core]") {
  CHECK(name_of(dtype_of<float16>::value) == "f16");
  CHECK(size_of(dtype_of<float16>::value) == 2);
  CHECK(name_of(dtype_of<float8_e4m3>::value) == "f8_e4m3");
  CHECK(size_of(dtype_of<float8_e5m2>::value) == 1);
}
