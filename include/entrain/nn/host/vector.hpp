// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <entrain/core/config.hpp>

// One vector register, by the vector extension that g++ and clang++ share: with AVX-512 `lanes<float>` holds 16 floats and
// `lanes<double>` 8 doubles, with AVX half and with less a quarter of that. The loops written with it do not depend on which
// loops a compiler chooses to vectorise, nor on the width it prefers. Loads and stores need no alignment. Arithmetic,
// comparison (a `mask`) and ?: work element by element.

namespace entrain::nn::host {

#if defined(__AVX512F__)
inline constexpr std::size_t vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr std::size_t vector_bytes = 32;
#else
inline constexpr std::size_t vector_bytes = 16;
#endif

template <class T>
struct lane_types;
template <>
struct lane_types<float> {
  typedef float value __attribute__((vector_size(vector_bytes)));
  typedef std::int32_t mask __attribute__((vector_size(vector_bytes)));
};
template <>
struct lane_types<double> {
  typedef double value __attribute__((vector_size(vector_bytes)));
  typedef std::int64_t mask __attribute__((vector_size(vector_bytes)));
};

template <class T>
using lanes = typename lane_types<T>::value;
template <class T>
using mask = typename lane_types<T>::mask;
template <class T>
inline constexpr std::size_t lane_count = vector_bytes / sizeof(T);

template <class T>
inline lanes<T> load(const T* from) {
  lanes<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
inline void store(T* to, lanes<T> value) {
  std::memcpy(to, &value, sizeof value);
}
// The first `count` elements; the others read as zero and are not written.
template <class T>
inline lanes<T> load(const T* from, std::size_t count) {
  lanes<T> value{};
  std::memcpy(&value, from, count * sizeof(T));
  return value;
}
template <class T>
inline void store(T* to, lanes<T> value, std::size_t count) {
  std::memcpy(to, &value, count * sizeof(T));
}
template <class T>
inline lanes<T> splat(T value) {
  return value - lanes<T>{};  // x - 0 is x for every x, and compilers know it
}
template <class T>
inline T sum(lanes<T> value) {
  T half[lane_count<T>];
  std::memcpy(half, &value, sizeof value);
  for (std::size_t width = lane_count<T> / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) half[i] += half[i + width];
  return half[0];
}
template <class T>
inline T maximum(lanes<T> value) {
  T half[lane_count<T>];
  std::memcpy(half, &value, sizeof value);
  for (std::size_t width = lane_count<T> / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) half[i] = half[i] < half[i + width] ? half[i + width] : half[i];
  return half[0];
}

}  // namespace entrain::nn::host
