// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// State that can be visited by name. Whatever a policy remembers between steps it shows to a visitor,
//
//   struct state {
//     buffer<float> residual;
//     void visit(auto&& v) { v("residual", residual.span()); }
//   };
//
// and checkpointing, resuming, hashing and counting bytes follow without more code. A visitor accepts spans of elements
// and references to arithmetic scalars. What a name may say to a run on another number of ranks: parallel/state_transfer.hpp.

namespace entrain {

namespace detail {
struct any_visitor {
  template <class T>
  void operator()(std::string_view, std::span<T>) const {}
  template <class T>
    requires std::is_arithmetic_v<T>
  void operator()(std::string_view, T&) const {}
};
}  // namespace detail

template <class S>
concept visitable = requires(S& state, detail::any_visitor visitor) { state.visit(visitor); };

// A visitor that puts "prefix." before every name; for states that contain states.
template <class Visitor>
struct prefixed_visitor {
  std::string prefix;
  Visitor& inner;
  template <class T>
  void operator()(std::string_view name, T&& value) const {
    inner(prefix + "." + std::string(name), static_cast<T&&>(value));
  }
};
template <class Visitor>
prefixed_visitor(std::string, Visitor&) -> prefixed_visitor<Visitor>;

namespace detail {
struct byte_counter {
  std::uint64_t& total;
  template <class T>
  void operator()(std::string_view, std::span<T> values) const { total += values.size_bytes(); }
  template <class T>
    requires std::is_arithmetic_v<T>
  void operator()(std::string_view, T&) const { total += sizeof(T); }
};
}  // namespace detail

// Bytes that a state holds.
template <visitable State>
std::uint64_t state_bytes(State& state) {
  std::uint64_t total = 0;
  state.visit(detail::byte_counter{total});
  return total;
}

}  // namespace entrain
