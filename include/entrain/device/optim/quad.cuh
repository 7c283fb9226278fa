// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>

#include <cuda_runtime.h>

#include <entrain/device/vector.cuh>

// Four neighbours of any element type at once: 16 bytes of floats, 8 of 16-bit types. Where arrays of several widths are walked together
// (gradients in bfloat16, the rest in fp32), every access of a warp then covers whole, neighbouring sectors.

namespace entrain::device {

template <class T>
struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) quad {
  static constexpr int count = 4;
  T value[4];
};

// The first `here` of four elements, the others zero; one access where all four are there and lie at a multiple of four (`wide`).
template <class T>
__device__ inline quad<T> load_quad(const T* from, int here, bool wide) {
  if (wide && here >= 4) return *reinterpret_cast<const quad<T>*>(from);
  quad<T> out;
  for (int j = 0; j < 4; ++j) out.value[j] = j < here ? from[j] : T(0.0f);
  return out;
}
// The same for what is read once.
template <class T>
__device__ inline quad<T> load_quad_once(const T* from, int here, bool wide) {
  if constexpr (sizeof(T) == 4) {
    if (wide && here >= 4) return std::bit_cast<quad<T>>(__ldcs(reinterpret_cast<const int4*>(from)));
  }
  if constexpr (sizeof(T) == 2) {
    if (wide && here >= 4) return std::bit_cast<quad<T>>(__ldcs(reinterpret_cast<const uint2*>(from)));
  }
  return load_quad(from, here, wide);
}
template <class T>
__device__ inline void store_quad(T* to, const quad<T>& values, int here, bool wide) {
  if (wide && here >= 4) *reinterpret_cast<quad<T>*>(to) = values;
  else
    for (int j = 0; j < 4 && j < here; ++j) to[j] = values.value[j];
}

}  // namespace entrain::device
