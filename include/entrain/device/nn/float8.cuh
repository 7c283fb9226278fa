// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/core/small_float.hpp>
#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/engine/cuda/float8_product.hpp>

// Matrices of bfloat16 as 8-bit numbers and one scale, as they lie or transposed. device/nn/float8_product.cuh multiplies them.
//
// A number is multiplied by the largest power of two that leaves the matrix' largest magnitude within the format, then rounded to nearest.
// A power of two and not the exact quotient: it and its inverse round nothing, so that rounding to 8 bits is the only error; up to half
// of the range stays empty, at the end where small numbers are lost. A matrix of zeros has the scale 1. Where an element is not finite the
// inverse is a NaN, and so is all that is computed from the matrix: the formats have no way (e4m3) or no use (e5m2, saturated) for it.

namespace entrain::device {

// From the bits of the largest magnitude, in bfloat16. Its inverse stays a normal number.
template <class F>
ENTRAIN_HOST_DEVICE constexpr float scale_to_8_bits(unsigned largest) {
  if (largest == 0 || largest >= 0x7f80u) return 1;
  constexpr std::uint32_t limit = std::bit_cast<std::uint32_t>(largest_of<F>), fraction = 0x7fffffu;
  const std::uint32_t word = largest << 16;
  int exponent = int(limit >> 23) - int(word >> 23) - int((word & fraction) > (limit & fraction));
  exponent = exponent > 126 ? 126 : exponent;  // of what is below 2^-118 some range stays empty
  return std::bit_cast<float>(std::uint32_t(127 + exponent) << 23);
}
template <class F>
ENTRAIN_HOST_DEVICE constexpr float inverse_scale_of_8_bits(unsigned largest) {
  return largest >= 0x7f80u ? std::bit_cast<float>(0x7fc00000u) : std::bit_cast<float>((254u << 23) - std::bit_cast<std::uint32_t>(scale_to_8_bits<F>(largest)));
}

// Four numbers in a word, the first in its lowest byte. Devices with 8-bit products have an instruction for two.
template <class F>
__device__ inline std::uint32_t four_of_8_bits(float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  std::uint16_t low, high;
  if constexpr (std::is_same_v<F, float8_e4m3>) {
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  } else {
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  }
  return std::uint32_t(low) | std::uint32_t(high) << 16;
#else
  return std::uint32_t(F(a).bits) | std::uint32_t(F(b).bits) << 8 | std::uint32_t(F(c).bits) << 16 | std::uint32_t(F(d).bits) << 24;
#endif
}

// The largest magnitude of each of two arrays of packs, as bits (which are ordered as the magnitudes are, infinities and NaNs above all),
// into scales[blockIdx.y], which hold zeros. 2 bytes an element: 32768 x 768 in 12 us. Exact, so that atomics change nothing.
template <class T>
__global__ void largest_magnitudes(const T* a, std::size_t packs_a, const T* b, std::size_t packs_b, engine::float8_scale* scales) {
  const T* in = blockIdx.y == 0 ? a : b;
  const std::size_t packs = blockIdx.y == 0 ? packs_a : packs_b;
  unsigned most = 0;
  for (std::size_t i = thread_index(); i < packs; i += thread_count()) {
    const auto x = load(in + i * pack<T>::count);
    ENTRAIN_UNROLL
    for (int j = 0; j < pack<T>::count; ++j) {
      const unsigned magnitude = x.value[j].bits & 0x7fffu;
      most = most > magnitude ? most : magnitude;
    }
  }
  most = block_reduce<larger>(most, 0u);
  if (threadIdx.x == 0) atomicMax(&scales[blockIdx.y].largest, most);
}

// 16 numbers a thread. 3 bytes an element: 32768 x 768 in 18 us.
template <class F, class T>
__global__ void to_8_bits(const T* in, F* out, std::size_t sixteens, engine::float8_scale* scale) {
  const float factor = scale_to_8_bits<F>(scale->largest);
  if (thread_index() == 0) scale->inverse = inverse_scale_of_8_bits<F>(scale->largest);
  for (std::size_t i = thread_index(); i < sixteens; i += thread_count()) {
    const auto x = load(in + 16 * i), y = load(in + 16 * i + 8);
    uint4 words;
    words.x = four_of_8_bits<F>(factor * x[0], factor * x[1], factor * x[2], factor * x[3]);
    words.y = four_of_8_bits<F>(factor * x[4], factor * x[5], factor * x[6], factor * x[7]);
    words.z = four_of_8_bits<F>(factor * y[0], factor * y[1], factor * y[2], factor * y[3]);
    words.w = four_of_8_bits<F>(factor * y[4], factor * y[5], factor * y[6], factor * y[7]);
    reinterpret_cast<uint4*>(out)[i] = words;
  }
}

inline constexpr int float8_tile = 64, float8_threads = 128;

// in[rows, columns] -> out[columns, rows], a tile of 64 x 64 a block; rows and columns are multiples of 16. A thread takes 4 x 8 numbers, so
// that the tile is written in words: at 17 words a row at most two threads of a warp meet in a bank. Bytes and time as above.
template <class F, class T>
__global__ void __launch_bounds__(float8_threads) to_8_bits_transposed(const T* in, F* out, std::size_t rows, std::size_t columns, engine::float8_scale* scale) {
  constexpr int quarter = float8_tile / 4, stride = quarter + 1;
  __shared__ std::uint32_t tile[float8_tile * stride];  // [column, row / 4]
  const float factor = scale_to_8_bits<F>(scale->largest);
  if (blockIdx.y == 0 && thread_index() == 0) scale->inverse = inverse_scale_of_8_bits<F>(scale->largest);
  const std::size_t first_row = std::size_t(blockIdx.y) * float8_tile, first_column = std::size_t(blockIdx.x) * float8_tile;

  const int part = int(threadIdx.x) % 8, group = int(threadIdx.x) / 8;  // of 8 columns, of 4 rows
  if (first_row + std::size_t(4 * group) < rows && first_column + std::size_t(8 * part) < columns) {
    const T* from = in + (first_row + std::size_t(4 * group)) * columns + first_column + std::size_t(8 * part);
    const auto w = load(from), x = load(from + columns), y = load(from + 2 * columns), z = load(from + 3 * columns);
    ENTRAIN_UNROLL
    for (int j = 0; j < 8; ++j) tile[(8 * part + j) * stride + group] = four_of_8_bits<F>(factor * w[j], factor * x[j], factor * y[j], factor * z[j]);
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < float8_tile * 4; i += float8_threads) {
    const int column = i / 4, at = i % 4;  // 16 rows
    if (first_column + std::size_t(column) >= columns || first_row + std::size_t(16 * at) >= rows) continue;
    const std::uint32_t* from = tile + column * stride + 4 * at;
    *reinterpret_cast<uint4*>(out + (first_column + std::size_t(column)) * rows + first_row + std::size_t(16 * at)) = uint4{from[0], from[1], from[2], from[3]};
  }
}

// rows, columns: as `in` is stored; multiples of 16. scale->largest is known.
template <class F, class T>
void write_in_8_bits(const engine::cuda_queue& queue, const T* in, F* out, std::size_t rows, std::size_t columns, bool transposed, engine::float8_scale* scale) {
  if (transposed) launch(queue, to_8_bits_transposed<F, T>, {dim3(ceil_div(columns, float8_tile), ceil_div(rows, float8_tile)), float8_threads}, in, out, rows, columns, scale);
  else launch(queue, to_8_bits<F, T>, {grid_for(queue, rows * columns / 16, 256), 256}, in, out, rows * columns / 16, scale);
}

}  // namespace entrain::device
