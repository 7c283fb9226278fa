// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>

// The operands of testing/communicator_laws.hpp and their reference results, computed by plain sequential loops.

namespace entrain::testing::communicator_detail {

// A user's element: trivially copyable, no arithmetic of its own.
struct vote {
  std::int32_t count = 0;
  std::int16_t lowest = 0, highest = 0;
  friend bool operator==(const vote&, const vote&) = default;
};
struct merge_votes {
  static constexpr std::string_view name = "merge_votes";
  static constexpr bool commutative = true;
  template <class T>
    requires std::same_as<T, vote>
  static constexpr T combine(T a, T b) { return {a.count + b.count, std::min(a.lowest, b.lowest), std::max(a.highest, b.highest)}; }
};
// Composition of affine maps x -> a x + b modulo 2^32: associative, not commutative.
struct affine {
  std::uint32_t a = 1, b = 0;
  friend bool operator==(const affine&, const affine&) = default;
};
struct compose {
  static constexpr std::string_view name = "compose";
  static constexpr bool commutative = false;
  template <class T>
    requires std::same_as<T, affine>
  static constexpr T combine(T x, T y) { return {x.a * y.a, y.a * x.b + y.b}; }
};

// The value of element i on a rank; `salt` tells operations in flight apart.
template <class T> T value(int rank, std::size_t i, int salt = 0) {
  const auto mixed = std::size_t(rank) * 7 + i * 3 + std::size_t(salt) * 5;
  if constexpr (std::same_as<T, vote>) return {std::int32_t(mixed % 11), std::int16_t(mixed % 13), std::int16_t(mixed % 17)};
  else if constexpr (std::same_as<T, affine>) return {std::uint32_t(2 * mixed + 1), std::uint32_t(mixed % 101)};
  else return T(float(mixed % 3 + (std::same_as<T, bfloat16> ? 0 : 1)));  // products of up to 13 of them stay exact
}

template <class T> std::vector<T> operand(int rank, std::size_t n, int salt = 0) {
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = value<T>(rank, i, salt);
  return out;
}

template <class T, class Op> std::vector<T> reduced(int ranks, std::size_t n, int salt = 0) {
  auto out = operand<T>(0, n, salt);
  for (int r = 1; r < ranks; ++r)
    for (std::size_t i = 0; i < n; ++i) out[i] = Op::combine(out[i], value<T>(r, i, salt));
  return out;
}

template <class C, class T> void expect_same(C& c, const std::string& law, const std::vector<T>& expected, const std::vector<T>& found) {
  const auto where = [&] { return "communicator laws, rank " + std::to_string(c.rank()) + " of " + std::to_string(c.size()); };
  if (expected.size() != found.size()) throw error(where(), law + ": size", std::to_string(expected.size()), std::to_string(found.size()));
  for (std::size_t i = 0; i < found.size(); ++i)
    if (!(expected[i] == found[i])) {
      if constexpr (std::is_convertible_v<T, double>)
        throw error(where(), law + ": element " + std::to_string(i) + " of " + std::to_string(found.size()),
                    entrain::detail::text(double(expected[i])), entrain::detail::text(double(found[i])));
      else throw error(where(), law + ": element " + std::to_string(i) + " of " + std::to_string(found.size()));
    }
}
template <class C> void expect(C& c, bool holds, const std::string& law) {
  if (!holds) throw error("communicator laws, rank " + std::to_string(c.rank()) + " of " + std::to_string(c.size()), law);
}

template <class T> std::string label(const std::string& what, std::size_t n) {
  return what + " of " + std::to_string(n) + " " + std::string(name_of(dtype_of<T>::value));
}

}  // namespace entrain::testing::communicator_detail
