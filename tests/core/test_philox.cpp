// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>

#include <entrain/core/philox.hpp>

using namespace entrain;

// The known answers published with the generator (Random123, kat_vectors, philox4x32 10 rounds).
TEST_CASE("philox gives the published known answers", "[core]") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == philox_counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == philox_counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) == philox_counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("streams are uniform and normal, and do not meet", "[core]") {
  const random_stream a(1, purpose::dropout, 3, 4), b(1, purpose::order, 3, 4), c(1, purpose::dropout, 3, 5);
  double mean = 0, square = 0, normal = 0, normal2 = 0;
  int same = 0;
  constexpr int n = 100000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double u = a.uniform(i), z = a.normal(i);
    mean += u / n, square += u * u / n, normal += z / n, normal2 += z * z / n;
    same += (a.bits(i) == b.bits(i)) + (a.bits(i) == c.bits(i));
    REQUIRE(a.below(i, 7) < 7);
  }
  // 5 standard errors of the mean of n draws.
  CHECK(std::abs(mean - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(square - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  CHECK(std::abs(normal) < 5 / std::sqrt(double(n)));
  CHECK(std::abs(normal2 - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(same <= 2);
}
