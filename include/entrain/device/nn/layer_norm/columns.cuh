// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Sums over rows, for the gradients of gain and bias, in two stages without atomics: blocks of 8 warps sum chunks of rows for 32 packs
// of columns, then the chunks' sums are added. How rows are divided follows from the sizes alone, so every device gives the same sums.

namespace entrain::device {

inline constexpr int warps_a_column_block = 8;

// Chunks of rows: about 512 blocks in all, at least 32 rows each.
inline std::size_t column_chunks(std::size_t rows, std::size_t column_blocks) {
  return std::clamp<std::size_t>(512 / std::max<std::size_t>(column_blocks, 1), 1, std::max<std::size_t>((rows + 31) / 32, 1));
}

// partial[chunk, 2, width]: sums of dout * n(in) and of dout. Columns: a pack, or one where rows are not aligned. Threads [32, 8].
template <class T, int Columns>
__global__ void layer_norm_chunk_sums(nn::ops::layer_norm op, const T* in, const nn::ops::statistic<T>* mean, const nn::ops::statistic<T>* inverse_deviation,
                                      const T* dout, arithmetic<T>* partial, std::size_t rows_a_chunk) {
  using A = arithmetic<T>;
  constexpr int width = 32 * Columns;
  __shared__ A sums[2][warps_a_column_block][width];
  const std::size_t column = std::size_t(blockIdx.x) * width + threadIdx.x * Columns, begin = blockIdx.y * rows_a_chunk;
  const std::size_t end = begin + rows_a_chunk < op.rows ? begin + rows_a_chunk : op.rows;
  A gain[Columns] = {}, bias[Columns] = {};
  if (column < op.width)
    for (std::size_t r = begin + threadIdx.y; r < end; r += warps_a_column_block) {
      const A m = A(mean[r]), inverse = A(inverse_deviation[r]);
      if constexpr (Columns == 1) {
        const A dy = A(dout[r * op.width + column]);
        gain[0] += dy * (A(in[r * op.width + column]) - m) * inverse, bias[0] += dy;
      } else {
        const pack<T> x = load_once(in + r * op.width + column), dy = load_once(dout + r * op.width + column);
        ENTRAIN_UNROLL for (int k = 0; k < Columns; ++k) gain[k] += dy[k] * (x[k] - m) * inverse, bias[k] += dy[k];
      }
    }
  ENTRAIN_UNROLL for (int k = 0; k < Columns; ++k) sums[0][threadIdx.y][threadIdx.x * Columns + k] = gain[k], sums[1][threadIdx.y][threadIdx.x * Columns + k] = bias[k];
  __syncthreads();
  for (int i = int(threadIdx.y * 32 + threadIdx.x); i < 2 * width; i += 32 * warps_a_column_block) {
    const std::size_t which = std::size_t(i / width), to = std::size_t(blockIdx.x) * width + std::size_t(i % width);
    if (to >= op.width) continue;
    A sum = 0;
    for (int w = 0; w < warps_a_column_block; ++w) sum += sums[which][w][i % width];
    partial[(blockIdx.y * 2 + which) * op.width + to] = sum;
  }
}

// dgain, dbias (+)= sums over the chunks. Threads [32, 8].
template <class T>
__global__ void layer_norm_add_chunks(nn::ops::layer_norm op, const arithmetic<T>* partial, std::size_t chunks, T* dgain, T* dbias) {
  using A = arithmetic<T>;
  __shared__ A sums[warps_a_column_block][32];
  const std::size_t column = std::size_t(blockIdx.x) * 32 + threadIdx.x;
  A sum = 0;
  if (column < 2 * op.width)
    for (std::size_t c = threadIdx.y; c < chunks; c += warps_a_column_block) sum += partial[c * 2 * op.width + column];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= 2 * op.width) return;
  for (int w = 1; w < warps_a_column_block; ++w) sum += sums[w][threadIdx.x];
  T* to = column < op.width ? dgain + column : dbias + (column - op.width);
  *to = T(op.accumulate ? A(*to) + sum : sum);
}

}  // namespace entrain::device
