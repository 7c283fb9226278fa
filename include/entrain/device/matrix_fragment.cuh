// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_runtime.h>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

// Tensor cores, from sm_80 on, a warp at a time: products of bfloat16 or float16 fragments with sums in float, fragments from shared
// memory, and copies from global to shared memory that the warp does not wait for. Each instruction is one function; without nvcc the
// functions are those of the emulation (tests/device/emulated), which hold to the same tables of the PTX ISA.
//
// A product of [16, 16] by [16, 8]. Lane l holds of the sum c: c[0], c[1] in row l / 4, columns 2 (l mod 4) and the next; c[2], c[3] eight rows
// below. Two sums side by side, packed, are the left factor of a further product (multiply_add's a): no exchange is needed.

#if defined(__CUDACC__)
#define ENTRAIN_UNROLL _Pragma("unroll")
#define ENTRAIN_UNROLL_BY_2 _Pragma("unroll 2")
#define ENTRAIN_UNROLL_NOT _Pragma("unroll 1")
#else
#define ENTRAIN_UNROLL
#define ENTRAIN_UNROLL_BY_2
#define ENTRAIN_UNROLL_NOT
#endif

namespace entrain::device {

template <class T>
concept matrix_element = std::is_same_v<T, bfloat16> || is_half<T>;

#if defined(__CUDACC__)
__device__ inline std::uint32_t shared_address(const void* pointer) { return std::uint32_t(__cvta_generic_to_shared(pointer)); }
#endif

// c += a * b
template <matrix_element T>
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<T, bfloat16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulated::mma_16816<T>(c, a, b0, b1);
#endif
}

// Four 8 x 8 matrices; lane l points to row l mod 8 of matrix l / 8 (16 bytes, aligned).
template <matrix_element T>
__device__ inline void load_matrices(const T* row, std::uint32_t (&to)[4]) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
#else
  emulated::load_four_matrices(row, to, false);
#endif
}
template <matrix_element T>
__device__ inline void load_matrices_transposed(const T* row, std::uint32_t (&to)[4]) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
#else
  emulated::load_four_matrices(row, to, true);
#endif
}

// Two numbers in a register, the first in its lower half.
template <matrix_element T>
__device__ inline std::uint32_t pack_two(float first, float second) {
#if defined(__CUDACC__)
  std::uint32_t word;
  if constexpr (std::is_same_v<T, bfloat16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
#else
  return emulated::two_halves<T>(first, second);
#endif
}

// 2^x with 22 good bits; 0 for -infinity.
__device__ inline float exp2_approximate(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

// Starts a copy of 16 (or 4) bytes to shared memory; zeros where not `inside`, but `from` must be readable all the same.
__device__ inline void copy_16_bytes(void* to, const void* from, bool inside) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0) : "memory");
#else
  if (inside) std::memcpy(to, from, 16);
  else std::memset(to, 0, 16);
#endif
}
__device__ inline void copy_4_bytes(void* to, const void* from, bool inside) {
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(inside ? 4 : 0) : "memory");
#else
  if (inside) std::memcpy(to, from, 4);
  else std::memset(to, 0, 4);
#endif
}
// Waits for all copies that this thread has started. What others copied is there after a __syncthreads() that follows.
__device__ inline void wait_for_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Rows of Width 16-bit elements in shared memory. The 16-byte chunks of a row are permuted by the row's number, so that the same chunk of
// eight rows (what a matrix is loaded from) and a row's eight chunks (what a copy writes) each lie in different banks.
template <class T, int Width>
struct matrix_tile {
  static_assert(Width % 32 == 0);
  static constexpr int chunks = Width / 8;
  T* data;
  __device__ T* at(int row, int chunk) const {
    const int mixed = Width % 64 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
    return data + row * Width + mixed * 8;
  }
  __device__ matrix_tile from_row(int row) const { return {data + row * Width}; }  // row: a multiple of 8
};

}  // namespace entrain::device
