// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/nn/host/vector.hpp>

// to[j, i] = from[i, j], in registers: 16 x 16 floats at a time with AVX-512, by four rounds of exchanging halves.

namespace entrain::nn::host {

namespace detail {

#if defined(__has_builtin) && !defined(__CUDACC__)
#if __has_builtin(__builtin_shufflevector)
#define ENTRAIN_SHUFFLES 1
#endif
#endif
#if defined(ENTRAIN_SHUFFLES) && defined(__AVX512F__)

// Exchanges the right half of each group of 2 * Step elements of `a` with the left half of `b`'s.
template <int Step>
[[gnu::always_inline]] inline void exchange(lanes<float>& a, lanes<float>& b) {
#define ENTRAIN_LEFT(i) (((i) & Step) ? 16 + ((i) ^ Step) : (i))
#define ENTRAIN_RIGHT(i) (((i) & Step) ? 16 + (i) : ((i) ^ Step))
#define ENTRAIN_ALL(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
  const lanes<float> left = __builtin_shufflevector(a, b, ENTRAIN_ALL(ENTRAIN_LEFT));
  const lanes<float> right = __builtin_shufflevector(a, b, ENTRAIN_ALL(ENTRAIN_RIGHT));
#undef ENTRAIN_ALL
#undef ENTRAIN_RIGHT
#undef ENTRAIN_LEFT
  a = left, b = right;
}

template <int Step>
[[gnu::always_inline]] inline void exchange_all(lanes<float> (&row)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    if (!(i & Step)) exchange<Step>(row[i], row[i | Step]);
}

inline void transpose_square(const float* from, std::size_t from_stride, float* to, std::size_t to_stride) {
  lanes<float> row[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) row[i] = load(from + std::size_t(i) * from_stride);
  exchange_all<8>(row);
  exchange_all<4>(row);
  exchange_all<2>(row);
  exchange_all<1>(row);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) store(to + std::size_t(i) * to_stride, row[i]);
}

#endif
#undef ENTRAIN_SHUFFLES

template <class T>
inline void transpose_square(const T* from, std::size_t from_stride, T* to, std::size_t to_stride) {
  for (std::size_t i = 0; i < lane_count<T>; ++i)
    for (std::size_t j = 0; j < lane_count<T>; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

}  // namespace detail

// from[rows, columns] -> to[columns, rows]; strides are those of rows, in elements.
template <class T>
void transpose(std::size_t rows, std::size_t columns, const T* from, std::size_t from_stride, T* to, std::size_t to_stride) {
  constexpr std::size_t side = lane_count<T>;
  const std::size_t square_rows = rows / side * side, square_columns = columns / side * side;
  for (std::size_t j = 0; j < square_columns; j += side)
    for (std::size_t i = 0; i < square_rows; i += side) detail::transpose_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = i < square_rows ? square_columns : 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

}  // namespace entrain::nn::host
