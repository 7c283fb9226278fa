// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/core/memory.hpp>

// Memory that an algorithm needs while it runs: one growing block a thread, so that nothing is allocated when a size has
// been seen before. An algorithm that calls another must not hold it across the call.
namespace entrain::comm::algorithms {

template <class T>
view<T> scratch(std::size_t count) {
  thread_local buffer<std::byte> block;
  if (block.size() < count * sizeof(T)) block = buffer<std::byte>(count * sizeof(T));
  return {reinterpret_cast<T*>(block.data()), count};
}

// acc[i] = acc[i] op x[i], or x[i] op acc[i] where the order of the operands matters and x comes first.
template <class Op, class T>
void combine_into(view<T> acc, view<const T> x) {
  for (std::size_t i = 0; i < acc.size(); ++i) acc[i] = Op::combine(acc[i], x[i]);
}
template <class Op, class T>
void combine_before(view<const T> x, view<T> acc) {
  for (std::size_t i = 0; i < acc.size(); ++i) acc[i] = Op::combine(x[i], acc[i]);
}

template <class T>
void copy(view<const T> from, view<T> to) {
  if (from.data() != to.data()) std::copy(from.begin(), from.end(), to.begin());
}

}  // namespace entrain::comm::algorithms
