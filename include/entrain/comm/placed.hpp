// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/placement.hpp>

// The only conversions between placements (core/placement.hpp). Each communicates, and returns a view whose type says
// what the memory now means:
//
//   auto whole = comm::all_reduce(world, placed<float, partial>{gradient});      // placed<float, replicated>
//   auto piece = comm::reduce_scatter(world, placed<float, partial>{gradient});  // placed<float, sharded>
//   auto again = comm::all_gather(world, piece, gradient);                       // placed<float, replicated>
//
// In place: nothing is copied, the result lies in the operand's memory. For reduce_scatter and all_gather the whole value
// must be a multiple of the ranks; the piece of rank r is elements [r, r + 1) * n / p. Costs are those of the collectives.

namespace entrain::comm {

template <class C, class T, memory_space Space>
placed<T, replicated, Space> all_reduce(C& c, placed<T, partial, Space> value) {
  all_reduce(c, value.values, sum{});
  return {value.values, value.offset};
}

template <class C, class T, memory_space Space>
placed<T, sharded, Space> reduce_scatter(C& c, placed<T, partial, Space> value) {
  const auto p = std::size_t(c.size()), n = value.values.size();
  detail::check_size("reduce_scatter", "a partial value (a multiple of the ranks)", n / p * p, n);
  const std::size_t first = n / p * std::size_t(c.rank());
  const auto piece = value.values.subview(first, n / p);
  reduce_scatter(c, value.values, piece, sum{});
  return {piece, value.offset + first};
}

// whole: where the value shall lie; `piece` is this rank's part of it, or lies elsewhere.
template <class C, class T, memory_space Space, class Whole>
  requires detail::viewable<Whole>
placed<T, replicated, Space> all_gather(C& c, placed<T, sharded, Space> piece, Whole&& whole) {
  const view<T, Space> to = detail::as_view(whole);
  all_gather(c, piece.values, to);
  return {to, piece.offset - piece.values.size() * std::size_t(c.rank())};
}

}  // namespace entrain::comm
