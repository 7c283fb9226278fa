// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <entrain/core/config.hpp>
#include <entrain/core/memory.hpp>

// The arithmetic of reductions on operands of unknown type, behind one function pointer.
//
// Always in rank order, ((x0 op x1) op x2) ..., element by element: the result does not depend on who computes it, in
// which pieces, or how far the others are; operations that do not commute are served by the same code.

namespace entrain::comm::shared_memory {

// out[i] = in[0][i] op in[1][i] op ...; the same to `second` unless it is null. Out may be one of the inputs.
using combiner = void (*)(const std::byte* const* in, std::size_t ranks, std::byte* out, std::byte* second, std::size_t count);

template <class T, class Op>
void combine_two(const T* a, const T* b, T* out, std::size_t count) {
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < count; ++i) out[i] = Op::combine(a[i], b[i]);
}
template <class T, class Op>
void combine_two(const T* a, const T* b, T* out, T* second, std::size_t count) {
  if (!second) return combine_two<T, Op>(a, b, out, count);
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < count; ++i) {
    const T value = Op::combine(a[i], b[i]);
    out[i] = value, second[i] = value;
  }
}

template <class T, class Op>
void combine_ranks(const std::byte* const* in, std::size_t ranks, std::byte* out, std::byte* second, std::size_t count) {
  constexpr std::size_t block = std::max<std::size_t>(1, 4096 / sizeof(T));  // partial results stay in the first-level cache
  const auto input = [&](std::size_t r, std::size_t at) { return reinterpret_cast<const T*>(in[r]) + at; };
  const auto to = reinterpret_cast<T*>(out), also = reinterpret_cast<T*>(second);
  if (ranks == 2) return combine_two<T, Op>(input(0, 0), input(1, 0), to, also, count);
  alignas(buffer_alignment) std::byte space[block * sizeof(T)];
  T* const partial = reinterpret_cast<T*>(space);
  for (std::size_t at = 0; at < count; at += block) {
    const std::size_t n = std::min(block, count - at);
    combine_two<T, Op>(input(0, at), input(1, at), partial, n);
    for (std::size_t r = 2; r + 1 < ranks; ++r) combine_two<T, Op>(partial, input(r, at), partial, n);
    combine_two<T, Op>(partial, input(ranks - 1, at), to + at, also ? also + at : nullptr, n);
  }
}

inline void copy_bytes(const std::byte* from, std::byte* to, std::size_t bytes) {
  if (bytes > 0 && from != to) std::memcpy(to, from, bytes);
}

}  // namespace entrain::comm::shared_memory
