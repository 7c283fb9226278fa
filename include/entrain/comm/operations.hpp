// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>

// Reduction operations. An operation is a type with a static associative `combine(a, b)`; `commutative` says whether the
// operands may be swapped. A user's own operation is the same three lines.

namespace entrain::comm {

struct sum {
  static constexpr std::string_view name = "sum";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T a, T b) { return T(a + b); }
};
struct product {
  static constexpr std::string_view name = "product";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T a, T b) { return T(a * b); }
};
struct maximum {
  static constexpr std::string_view name = "maximum";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T a, T b) { return a < b ? b : a; }
};
struct minimum {
  static constexpr std::string_view name = "minimum";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T a, T b) { return b < a ? b : a; }
};

template <class Op, class T>
concept operation_on = requires(T a, T b) {
  { Op::combine(a, b) } -> std::convertible_to<T>;
  { Op::commutative } -> std::convertible_to<bool>;
  { Op::name } -> std::convertible_to<std::string_view>;
};

}  // namespace entrain::comm
