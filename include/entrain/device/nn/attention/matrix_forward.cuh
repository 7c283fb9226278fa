// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include <cuda_runtime.h>

#include <entrain/device/launch.cuh>
#include <entrain/device/nn/attention/head_place.cuh>
#include <entrain/device/nn/attention/tile_products.cuh>
#include <entrain/nn/ops.hpp>

// The forward pass on tensor cores, after Dao, "FlashAttention-2" (2023): a block takes a tile of queries of one head, each of its four
// warps a part of them with all that belongs to it in registers, and goes through the tiles of 64 keys and values up to the diagonal,
// the next of which is copied to shared memory meanwhile.
//
// GPT-2 124M (12 heads of 64, batch 32, length 1024): 4 * 1024^2 / 2 * 64 flops a head, 52 GFLOP in all and 6 % more on the diagonal:
// 0.09 ms at 600 TFLOP/s (what mma.sync, not wgmma, can reach on an H200). 200 M exponentials are 0.06 ms of the special function
// units, between the products; 151 MB in and 50 MB out are 0.05 ms at 4.3 TB/s, beside them. Expected: 0.13 to 0.17 ms.
// A product of scores reads 192 bytes of shared memory for 4096 flops, one with values 128, of the 205 that pass in its time.
//
// Registers a thread and shared memory a block (nvcc 13; the same for sm_80 and sm_90 but for a few registers):
//   width 32    188    24 KiB      width 96     226    48 KiB
//   width 64    228    48 KiB      width 128    254    64 KiB, 8 bytes spilled
// so two blocks a multiprocessor, eight warps; more would need smaller tiles, which read shared memory more often.

namespace entrain::device::attention {

inline constexpr float log2_of_e = 1.4426950408889634f;

// 1 / sqrt(width) as a constant: one register less.
constexpr float inverse_root(int width) {
  double root = width;
  for (int i = 0; i < 30; ++i) root = (root + width / root) / 2;
  return float(1 / root);
}

template <class T, int Width>
struct matrix_forward_plan {
  static constexpr int warps = 4, threads = warps * warp_size, row_tiles = 2, queries = warps * 16 * row_tiles;
  static constexpr int keys = Width <= 64 ? 64 : 32;
  static constexpr std::size_t shared_bytes = std::size_t(queries + 4 * keys) * Width * sizeof(T);
};

// What a warp knows of its rows: the largest score so far, the sum of exponentials relative to it (a lane's part).
template <int RowTiles>
struct running_softmax {
  float largest[RowTiles][2], sum[RowTiles][2];

  __device__ running_softmax() {
    ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m)
      ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) largest[m][half] = -std::numeric_limits<float>::infinity(), sum[m][half] = 0;
  }
  // Scores become probabilities times exp(largest ...); the output so far is rescaled. scale: of scores, for powers of two.
  template <int Tiles, int OutTiles>
  __device__ void add(float (&s)[RowTiles][Tiles][4], float (&y)[RowTiles][OutTiles][4], float scale) {
    ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m)
      ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
        float now = largest[m][half];
        ENTRAIN_UNROLL for (int n = 0; n < Tiles; ++n) now = fmaxf(now, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        now = fmaxf(now, __shfl_xor_sync(all_lanes, now, 1));
        now = fmaxf(now, __shfl_xor_sync(all_lanes, now, 2));
        const float factor = exp2_approximate((largest[m][half] - now) * scale), subtract = now * scale;
        float total = 0;
        ENTRAIN_UNROLL for (int n = 0; n < Tiles; ++n)
          ENTRAIN_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) total += s[m][n][i] = exp2_approximate(s[m][n][i] * scale - subtract);
        largest[m][half] = now, sum[m][half] = sum[m][half] * factor + total;
        ENTRAIN_UNROLL for (int n = 0; n < OutTiles; ++n) y[m][n][2 * half] *= factor, y[m][n][2 * half + 1] *= factor;
      }
  }
  __device__ void finish() {
    ENTRAIN_UNROLL for (int m = 0; m < RowTiles; ++m)
      ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
        sum[m][half] += __shfl_xor_sync(all_lanes, sum[m][half], 1);
        sum[m][half] += __shfl_xor_sync(all_lanes, sum[m][half], 2);
      }
  }
};

template <class T, int Width>
__global__ void __launch_bounds__(128, Width <= 32 ? 2 : 1) matrix_forward(nn::ops::causal_attention op, const T* qkv, T* out, float* log_sum_exp) {
  using plan = matrix_forward_plan<T, Width>;
  using tile_of = matrix_tile<T, Width>;
  constexpr int row_tiles = plan::row_tiles, keys_a_tile = plan::keys;
  const unsigned tiles = ceil_div(op.length, plan::queries);
  const head_place at(op, tiles);
  const int length = int(op.length), warp = int(threadIdx.x) / warp_size, lane = lane_of_warp();
  const int first = int(tiles - 1 - at.tile) * plan::queries, own = first + warp * 16 * row_tiles;  // the longest rows begin first
  const int key_tiles = (std::min(first + plan::queries, length) + keys_a_tile - 1) / keys_a_tile;
  const tile_of q{dynamic_shared<T>()}, k = q.from_row(plan::queries), v = k.from_row(2 * keys_a_tile), own_q = q.from_row(warp * 16 * row_tiles);
  const T* const head_qkv = at.in_qkv(op, qkv);
  const auto start_keys = [&](int tile) {
    const int stage = tile % 2 * keys_a_tile;
    start_load<keys_a_tile, plan::threads>(head_qkv + op.width(), 3 * op.width(), tile * keys_a_tile, length, k.from_row(stage));
    start_load<keys_a_tile, plan::threads>(head_qkv + 2 * op.width(), 3 * op.width(), tile * keys_a_tile, length, v.from_row(stage));
  };

  start_load<plan::queries, plan::threads>(head_qkv, 3 * op.width(), first, length, q);
  start_keys(0);
  running_softmax<row_tiles> softmax;
  float y[row_tiles][Width / 8][4] = {};
  constexpr float scale = inverse_root(Width) * log2_of_e;
  for (int tile = 0; tile < key_tiles; ++tile) {
    wait_for_copies();
    __syncthreads();  // this tile is there, and nobody reads the one before any more
    if (tile + 1 < key_tiles) start_keys(tile + 1);
    const int keys = tile * keys_a_tile, stage = tile % 2 * keys_a_tile;
    if (keys >= own + 16 * row_tiles) continue;
    float s[row_tiles][keys_a_tile / 8][4] = {};
    add_dot_products<row_tiles, keys_a_tile>(own_q, k.from_row(stage), s);
    if (keys + keys_a_tile > own + 1)
      ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
        ENTRAIN_UNROLL for (int n = 0; n < keys_a_tile / 8; ++n)
          ENTRAIN_UNROLL for (int i = 0; i < 4; ++i)
            if (keys + 8 * n + 2 * (lane % 4) + i % 2 > own + 16 * m + 8 * (i / 2) + lane / 4) s[m][n][i] = -std::numeric_limits<float>::infinity();
    softmax.add(s, y, scale);
    add_product<row_tiles, keys_a_tile>(s, v.from_row(stage), y);
  }
  softmax.finish();
  store_sums<row_tiles>(y, [&](int m, int half) { return 1 / softmax.sum[m][half]; }, own_q, at.in_out(op, out), op.width(), own, length);
  if (lane % 4 == 0)
    ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
      ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = own + 16 * m + 8 * half + lane / 4;
        if (row < length) at.in_rows(op, log_sum_exp)[row] = (softmax.largest[m][half] * scale + log2f(softmax.sum[m][half])) / log2_of_e;
      }
}

template <int Width, class T>
void launch_matrix_forward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, T* out, float* log_sum_exp) {
  using plan = matrix_forward_plan<T, Width>;
  allow_shared(matrix_forward<T, Width>, plan::shared_bytes);
  launch(queue, matrix_forward<T, Width>, {unsigned(op.batch * op.heads * ceil_div(op.length, plan::queries)), plan::threads, plan::shared_bytes}, op, qkv, out, log_sum_exp);
}

}  // namespace entrain::device::attention
