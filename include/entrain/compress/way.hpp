// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>

// How sparse gradients travel. The exchange takes the cheapest by the communicator's cost model and says so in explain(); whoever
// knows better names it:
//
//   compress::error_feedback{compress::travel{compress::top_k{.ratio = 0.01}, compress::way::sparse}}

namespace entrain::compress {

enum class way {
  cheapest,  // by the cost model
  gather,    // every rank's entries go to every rank
  sparse,    // merged on their way (comm/sparse_all_reduce.hpp)
  dense,     // scattered into zeros, then an ordinary all-reduce
};

constexpr std::string_view name_of(way w) {
  constexpr std::string_view names[] = {"cheapest", "gather", "sparse", "dense"};
  return names[std::size_t(w)];
}

// What a policy, or the one inside of it, asks for.
template <class C>
way way_of(const C& c) {
  if constexpr (requires { { c.travels } -> std::convertible_to<way>; }) return c.travels;
  else if constexpr (requires { c.inner; }) return way_of(c.inner);
  else return way::cheapest;
}

template <class Inner>
struct travel {
  using slot_type = slot::compression;
  static_assert(Inner::payload == payload_kind::sparse, "only a sparse payload has several ways to travel: put compress::travel around top_k or another sparsifier");
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = is_variable<Inner>, ascending = is_ascending<Inner>, unbiased = is_unbiased<Inner>;
  template <class T>
  using wire_type = wire_of<Inner, T>;

  Inner inner;
  way travels;

  constexpr travel(Inner c, way w) : inner(c), travels(w) {}

  template <class T>
  std::size_t wire_count(const block& b) const { return inner.template wire_count<T>(b); }
  template <class T>
  auto make_state(const block& b) const { return inner.template make_state<T>(b); }
  template <class T>
  std::size_t encode(state_of<Inner, T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const { return encoded(inner, s, where, values, wire); }
  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const { inner.decode_add(where, wire, values, scale); }

  std::string describe() const { return "travel{" + entrain::describe(inner) + ", " + std::string(name_of(travels)) + "}"; }
  friend bool operator==(const travel&, const travel&) = default;
};

}  // namespace entrain::compress
