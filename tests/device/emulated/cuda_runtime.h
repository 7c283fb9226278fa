// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"
#include "matrix_operations.hpp"
#include "threads_of_a_block.hpp"

// CUDA's device language and launches, emulated with ordinary functions, so that the kernels in include/entrain/device run, and are
// tested under every sanitizer, on machines without a GPU. The threads of a block are fibers that change at barriers and warp
// operations; blocks run one after another. It finds wrong indices, wrong barriers and wrong arithmetic; it does not find races
// between barriers or between blocks, and says nothing about speed. Programs see it by putting this folder before CUDA's.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __constant__ static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __restrict__ __restrict

namespace entrain::emulated {
template <class Read>
struct built_in {
  operator unsigned() const { return Read{}(); }
};
#define ENTRAIN_EMULATED_BUILT_IN(name, source)                                                              \
  struct name##_type {                                                                                       \
    struct read_x { unsigned operator()() const { return source.x; } };                                      \
    struct read_y { unsigned operator()() const { return source.y; } };                                      \
    struct read_z { unsigned operator()() const { return source.z; } };                                      \
    built_in<read_x> x;                                                                                      \
    built_in<read_y> y;                                                                                      \
    built_in<read_z> z;                                                                                      \
  };
ENTRAIN_EMULATED_BUILT_IN(thread_index, thread().index)
ENTRAIN_EMULATED_BUILT_IN(block_index, block().index)
ENTRAIN_EMULATED_BUILT_IN(block_size, block().threads)
ENTRAIN_EMULATED_BUILT_IN(grid_size, block().blocks)
#undef ENTRAIN_EMULATED_BUILT_IN
}  // namespace entrain::emulated

inline constexpr entrain::emulated::thread_index_type threadIdx{};
inline constexpr entrain::emulated::block_index_type blockIdx{};
inline constexpr entrain::emulated::block_size_type blockDim{};
inline constexpr entrain::emulated::grid_size_type gridDim{};
#define warpSize 32

inline void __syncthreads() { entrain::emulated::block_barrier(); }
inline int __syncthreads_or(int predicate) { return entrain::emulated::block_or(predicate); }
inline void __syncwarp(unsigned = 0xffffffffu) { entrain::emulated::warp_barrier(); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __shfl_sync(unsigned, T value, int lane, int width = 32) { return entrain::emulated::from_lane(value, (entrain::emulated::lane() / width) * width + lane % width); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int = 32) { return entrain::emulated::from_lane(value, entrain::emulated::lane() ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T value, unsigned distance, int width = 32) {
  const int lane = entrain::emulated::lane(), from = lane + int(distance);
  return entrain::emulated::from_lane(value, from / width == lane / width ? from : lane);
}
template <class T> T __shfl_up_sync(unsigned, T value, unsigned distance, int width = 32) {
  const int lane = entrain::emulated::lane(), from = lane - int(distance);
  return entrain::emulated::from_lane(value, from >= 0 && from / width == lane / width ? from : lane);
}
inline unsigned __ballot_sync(unsigned, int predicate) { return entrain::emulated::ballot(predicate); }
inline int __any_sync(unsigned, int predicate) { return entrain::emulated::ballot(predicate) != 0; }
inline int __all_sync(unsigned, int predicate) { return entrain::emulated::ballot(!predicate) == 0; }

template <class T> T atomicAdd(T* to, std::type_identity_t<T> value) { const T before = *to; *to = T(before + value); return before; }
template <class T> T atomicMax(T* to, std::type_identity_t<T> value) { const T before = *to; if (value > before) *to = value; return before; }
template <class T> T atomicOr(T* to, std::type_identity_t<T> value) { const T before = *to; *to = before | value; return before; }
template <class T> T atomicExch(T* to, std::type_identity_t<T> value) { const T before = *to; *to = value; return before; }
template <class T> T atomicCAS(T* to, std::type_identity_t<T> expected, std::type_identity_t<T> value) { const T before = *to; if (before == expected) *to = value; return before; }

struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) uint2 { unsigned x, y; };
template <class T> T __ldcs(const T* from) { return *from; }
template <class T> T __ldg(const T* from) { return *from; }
template <class T> void __stcs(T* to, T value) { *to = value; }
template <class T> void __stcg(T* to, T value) { *to = value; }

inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
inline float __expf(float x) { return __builtin_expf(x); }
inline float __logf(float x) { return __builtin_logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((std::uint64_t(a) * b) >> 32); }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

template <class... Formal, class... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* how, void (*kernel)(Formal...), Actual&&... actual) {
  ++entrain::emulated::launches;
  const auto run = [how = *how, kernel, given = std::tuple<Formal...>(Formal(actual)...)] {
    return entrain::emulated::run_grid(how.gridDim, how.blockDim, how.dynamicSmemBytes, [&] { std::apply(kernel, given); });
  };
  return entrain::emulated::submit(how->stream, entrain::emulated::node_kind::kernel, reinterpret_cast<const void*>(kernel), run) ? cudaSuccess : cudaErrorInvalidConfiguration;
}
