// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <cuda_runtime.h>

#include <entrain/core/dtype.hpp>

// 16 bytes at a time: the widest access of a thread, and what coalesces best. Arithmetic is in float (double for double).

#if defined(__CUDACC__)
#define ENTRAIN_UNROLL _Pragma("unroll")
#else
#define ENTRAIN_UNROLL
#endif

namespace entrain::device {

// In which type kernels compute on elements of type T.
template <class T>
using arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
struct alignas(16) pack {
  static constexpr int count = 16 / int(sizeof(T));
  T value[count];

  __device__ arithmetic<T> operator[](int i) const { return arithmetic<T>(value[i]); }
  __device__ void set(int i, arithmetic<T> x) { value[i] = T(x); }
};

// Pointers must be aligned to 16 bytes: arenas and their blocks are, and what begins at a multiple of a pack in them.
template <class T>
__device__ inline pack<T> load(const T* from) {
  return *reinterpret_cast<const pack<T>*>(from);
}
// Data that is read once: it need not stay in the caches.
template <class T>
__device__ inline pack<T> load_once(const T* from) {
  return std::bit_cast<pack<T>>(__ldcs(reinterpret_cast<const int4*>(from)));
}
template <class T>
__device__ inline void store(T* to, const pack<T>& values) {
  *reinterpret_cast<pack<T>*>(to) = values;
}
template <class T>
__device__ inline void store_once(T* to, const pack<T>& values) {
  __stcs(reinterpret_cast<int4*>(to), std::bit_cast<int4>(values));
}
inline bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

__device__ inline std::size_t thread_index() { return std::size_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline std::size_t thread_count() { return std::size_t(gridDim.x) * blockDim.x; }

}  // namespace entrain::device
