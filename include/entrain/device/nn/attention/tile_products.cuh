// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

#include <entrain/device/matrix_fragment.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>

// Products of tiles by one warp on tensor cores. A warp owns RowTiles * 16 rows; a fragment of sums [RowTiles][Columns / 8][4] stands for
// those rows times Columns columns (where each number stands: device/matrix_fragment.cuh). Attention needs two forms only:
//
//   add_dot_products:  sums += rows * tile^T     scores: both factors have contiguous rows in shared memory
//   add_product:       sums += p * tile          p: sums of the first form, rounded to 16 bits
//
// A fragment of the tile (256 bytes of shared memory) serves RowTiles multiplications of 4096 flops: with two row tiles 128 bytes each,
// below what shared memory gives in the time of one.

namespace entrain::device::attention {

__device__ inline int lane_of_warp() { return int(threadIdx.x) % warp_size; }

template <int RowTiles, int Columns, class T, int Width>
__device__ inline void add_dot_products(matrix_tile<T, Width> rows, matrix_tile<T, Width> tile, float (&sums)[RowTiles][Columns / 8][4]) {
  const int lane = lane_of_warp(), row = lane % 8 + lane / 16 * 8, chunk = lane / 8 % 2;
  ENTRAIN_UNROLL_BY_2 for (int k = 0; k < Width / 16; ++k) {
    std::uint32_t a[RowTiles][4];
    ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m) load_matrices(rows.at(16 * m + lane % 16, 2 * k + lane / 16), a[m]);
    ENTRAIN_UNROLL for (int n = 0; n < Columns / 16; ++n) {
      std::uint32_t b[4];
      load_matrices(tile.at(16 * n + row, 2 * k + chunk), b);
      ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m) {
        multiply_add<T>(sums[m][2 * n], a[m], b[0], b[1]);
        multiply_add<T>(sums[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <int RowTiles, int Columns, class T, int Width>
__device__ inline void add_product(const float (&p)[RowTiles][Columns / 8][4], matrix_tile<T, Width> tile, float (&sums)[RowTiles][Width / 8][4]) {
  const int lane = lane_of_warp();
  ENTRAIN_UNROLL for (int k = 0; k < Columns / 16; ++k) {
    std::uint32_t a[RowTiles][4];
    ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m)
      ENTRAIN_UNROLL for (int i = 0; i < 4; ++i) a[m][i] = pack_two<T>(p[m][2 * k + i / 2][i % 2 * 2], p[m][2 * k + i / 2][i % 2 * 2 + 1]);
    ENTRAIN_UNROLL for (int n = 0; n < Width / 16; ++n) {
      std::uint32_t b[4];
      load_matrices_transposed(tile.at(16 * k + lane % 16, 2 * n + lane / 16), b);
      ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m) {
        multiply_add<T>(sums[m][2 * n], a[m], b[0], b[1]);
        multiply_add<T>(sums[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Starts the copy of rows first ... first + Rows - 1 of `length` by a block of Threads; rows beyond become zero. A thread's rows lie a
// multiple of eight apart, so that its place in them is the same (addresses cost registers).
template <int Rows, int Threads, class T, int Width>
__device__ inline void start_load(const T* from, std::size_t step, int first, int length, matrix_tile<T, Width> to) {
  constexpr int chunks = Width / 8, rows_at_once = Threads / chunks / 8 * 8;
  static_assert(Rows % rows_at_once == 0);
  const int row = int(threadIdx.x) / chunks, chunk = int(threadIdx.x) % chunks;
  if (Threads % chunks != 0 && row >= rows_at_once) return;
  T* const place = to.at(row, chunk);
  const T* next = from + std::size_t(first + row) * step + chunk * 8;
  ENTRAIN_UNROLL for (int i = 0; i < Rows; i += rows_at_once) {
    const bool inside = first + row + i < length;
    copy_16_bytes(place + i * Width, inside ? next : from, inside);
    next += rows_at_once * step;
  }
}

// The warp's sums times `factor(m, half)`, by way of its own rows of a tile in shared memory (which nobody else reads any more), to
// rows first ... of `length` in global memory, 16 bytes a thread.
template <int RowTiles, class T, int Width, class Factor>
__device__ inline void store_sums(const float (&sums)[RowTiles][Width / 8][4], Factor&& factor, matrix_tile<T, Width> tile, T* to, std::size_t step, int first, int length) {
  const int lane = lane_of_warp();
  __syncwarp();
  ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m)
    ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
      const float scale = factor(m, half);
      ENTRAIN_UNROLL for (int n = 0; n < Width / 8; ++n) {
        T* const two = tile.at(16 * m + 8 * half + lane / 4, n) + 2 * (lane % 4);
        *reinterpret_cast<std::uint32_t*>(two) = pack_two<T>(scale * sums[m][n][2 * half], scale * sums[m][n][2 * half + 1]);
      }
    }
  __syncwarp();
  constexpr int chunks = Width / 8;
  ENTRAIN_UNROLL for (int i = 0; i < 16 * RowTiles * chunks / warp_size; ++i) {
    const int item = i * warp_size + lane, row = item / chunks, chunk = item % chunks;
    if (first + row < length) store(to + std::size_t(first + row) * step + chunk * 8, load(static_cast<const T*>(tile.at(row, chunk))));
  }
}

}  // namespace entrain::device::attention
