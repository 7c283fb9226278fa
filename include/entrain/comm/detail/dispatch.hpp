// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>
#include <type_traits>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// What comm/collectives.hpp and comm/messages.hpp share: making views of what the caller passes, the compile-time
// question "can this back-end do that at all", checks of sizes, ranks and tags, and the counting of traffic.

namespace entrain::comm::detail {

using entrain::detail::text;

template <class T>
inline constexpr bool is_view = false;
template <class T, class Space>
inline constexpr bool is_view<view<T, Space>> = true;

// A view, a buffer, or anything contiguous (std::vector, std::span, std::array) as a view of its elements.
template <class Range>
constexpr auto as_view(Range&& range) {
  if constexpr (is_view<std::remove_cvref_t<Range>>) return range;
  else if constexpr (requires { typename std::remove_cvref_t<Range>::space_type; }) return range.all();
  else return view<std::remove_pointer_t<decltype(std::data(range))>>(std::data(range), std::size(range));
}

template <class Range>
concept viewable =
    is_view<std::remove_cvref_t<Range>> || requires(Range& r) {
      typename std::remove_cvref_t<Range>::space_type;
      r.all();
    } || requires(Range& r) {
      std::data(r);
      std::size(r);
    };

template <class Range>
using view_of = decltype(as_view(std::declval<Range&>()));
template <class Range>
using element_of = std::remove_const_t<typename view_of<Range>::element_type>;
template <class Range>
using space_of = typename view_of<Range>::space_type;

template <class Range>
constexpr view<const element_of<Range>, space_of<Range>> input(Range& range) {
  return as_view(range);
}
template <class Range>
constexpr view<element_of<Range>, space_of<Range>> output(Range& range) {
  if constexpr (std::is_const_v<typename view_of<Range>::element_type>) return {};  // compile_time_check has said why
  else return as_view(range);
}

template <class C, class T, class Space>
inline constexpr bool has_messages = requires(C& c, view<const T, Space> out, view<T, Space> in) {
  c.start_send(out, 0, 0);
  c.start_receive(in, 0, 0);
};

// One sentence for what cannot be done; false keeps the rest of the caller from being instantiated.
template <class C, collective Kind, class T, class Op, class Space>
constexpr bool possible() {
  constexpr bool is_operation = std::same_as<Op, no_operation> || operation_on<Op, T>;
  constexpr bool built_in = native<C, Kind, T, Op, Space>;
  constexpr bool buildable = built_in || (Space::host_accessible && has_messages<C, T, Space>);
  static_assert(is_operation,
                "entrain: this reduction operation cannot combine elements of this type; it needs static combine(a, b), commutative, name");
  constexpr bool reduces_otherwise = !std::same_as<Op, no_operation> && native<C, Kind, float, sum, Space>;
  static_assert(buildable || reduces_otherwise,
                "entrain: this communicator has no such collective for memory of this space, and it cannot be built from messages there");
  static_assert(buildable || !reduces_otherwise,
                "entrain: in memory of this space this communicator reduces numbers by sum, product, maximum or minimum; for another operation "
                "or element type, copy the operands to host memory");
  return is_operation && buildable;
}

// Input and output of one call: same element type, same memory space, the output writable.
template <class In, class Out>
constexpr bool matching() {
  constexpr bool writable = !std::is_const_v<typename view_of<Out>::element_type>;
  constexpr bool same_type = std::same_as<element_of<In>, element_of<Out>>;
  constexpr bool same_space = std::same_as<space_of<In>, space_of<Out>>;
  constexpr bool trivial = element<element_of<In>>;
  static_assert(writable, "entrain: the output of a communication must be writable, but its elements are const");
  static_assert(same_type, "entrain: input and output of a collective must have the same element type");
  static_assert(same_space, "entrain: input and output of a collective must lie in the same memory space");
  static_assert(trivial, "entrain: only trivially copyable elements can travel between ranks");
  return writable && same_type && same_space && trivial;
}

inline void check_size(std::string_view where, std::string_view what, std::size_t expected, std::size_t found) {
  if (expected != found)
    throw usage_error(text("comm::", where), text("wrong size of ", what), text(expected, " elements"), text(found, " elements"));
}
inline void check_rank(std::string_view where, std::string_view what, int rank, int size) {
  if (rank < 0 || rank >= size)
    throw usage_error(text("comm::", where), text("no such ", what), text("a rank in [0, ", size, ")"), text(rank));
}
inline std::size_t total(std::span<const std::size_t> counts) {
  std::size_t sum = 0;
  for (const auto n : counts) sum += n;
  return sum;
}

template <class C>
void count_collective(C& c, std::size_t bytes) {
  traffic& t = c.counters();
  t.bytes += bytes;
  ++t.collectives;
}

}  // namespace entrain::comm::detail
