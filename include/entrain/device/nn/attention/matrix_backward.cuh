// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <cuda_runtime.h>

#include <entrain/device/launch.cuh>
#include <entrain/device/nn/attention/head_place.cuh>
#include <entrain/device/nn/attention/matrix_forward.cuh>
#include <entrain/device/nn/attention/tile_products.cuh>
#include <entrain/nn/ops.hpp>

// The backward pass on tensor cores, after Dao, "FlashAttention-2" (2023), but with gradients of queries in a kernel of their own, which
// computes the scores again: nothing is added by atomics, and results are the same in every run. Three kernels:
//
//   row_products   dout . out of each row, kept at the beginning of the row's place for dq until dq is there
//   keys_backward  a block a tile of keys: k q^T and v dout^T (scores on their side, so that the sums are left factors of the
//                  next products), then dv += p dout and dk += dscore q over the tiles of queries from the diagonal on
//   queries_backward  a block a tile of queries: q k^T, dout v^T, dq += dscore k over the tiles of keys up to the diagonal
//
// Seven products where two are the forward pass: for GPT-2 124M (12 heads of 64, batch 32, length 1024) 180 GFLOP and 6 % more on the
// diagonal, 0.32 ms at 600 TFLOP/s; two sets of exponentials, 0.11 ms between them; row_products reads 100 MB, 0.025 ms, the others
// 200 MB each and write 150 MB together, 0.13 ms beside the products. Expected: 0.45 to 0.55 ms. Shared memory gives 256 bytes to a
// product of the first form and 128 to one of the second: 192 and 213 on the average, of the 205 that pass in a product's time.
//
// Registers a thread and shared memory a block of keys_backward (queries_backward: 1 KiB less), no spills on sm_80 and sm_90:
//   width 32    198, 164    33 KiB      width 96     223, 128    73 KiB
//   width 64    255, 212    65 KiB      width 128    238, 165    97 KiB
// so two blocks a multiprocessor (sm_80 with width 128: one).

namespace entrain::device::attention {

template <class T, int Width>
struct matrix_backward_plan {
  static constexpr int warps = 4, threads = warps * warp_size;
  static constexpr int row_tiles = Width <= 64 ? 2 : 1, rows = warps * 16 * row_tiles;  // a block's own keys, or queries
  static constexpr int others = 64, step = 32;                                         // of the other side: a tile in shared memory, at once in registers
  static constexpr std::size_t tiles_bytes = std::size_t(2 * rows + 4 * others) * Width * sizeof(T);
  static constexpr std::size_t keys_bytes = tiles_bytes + 4 * others * sizeof(float), queries_bytes = tiles_bytes;
};

// Four threads a row; its 16-byte loads are consecutive.
template <class T, int Width>
__global__ void __launch_bounds__(256) row_products(nn::ops::causal_attention op, const T* out, const T* dout, T* dqkv) {
  const std::size_t row = thread_index() / 4, rows = op.batch * op.length * op.heads;
  const int part = int(threadIdx.x) % 4;
  float sum = 0;
  if (row < rows)
    ENTRAIN_UNROLL for (int i = 0; i < Width / 32; ++i) {
      const std::size_t at = row * Width + 8 * (4 * i + part);
      const pack<T> a = load(out + at), b = load(dout + at);
      ENTRAIN_UNROLL for (int j = 0; j < 8; ++j) sum += a[j] * b[j];
    }
  sum += __shfl_xor_sync(all_lanes, sum, 1);
  sum += __shfl_xor_sync(all_lanes, sum, 2);
  if (row < rows && part == 0) *reinterpret_cast<float*>(dqkv + row / op.heads * 3 * op.width() + row % op.heads * Width) = sum;
}

template <class T, int Width>
__global__ void __launch_bounds__(128) keys_backward(nn::ops::causal_attention op, const T* qkv, const float* log_sum_exp, const T* dout, T* dqkv) {
  using plan = matrix_backward_plan<T, Width>;
  using tile_of = matrix_tile<T, Width>;
  constexpr int row_tiles = plan::row_tiles, queries_a_tile = plan::others, step = plan::step;
  const head_place at(op, ceil_div(op.length, plan::rows));  // the first have the most to do
  const int length = int(op.length), warp = int(threadIdx.x) / warp_size, lane = lane_of_warp();
  const int first = int(at.tile) * plan::rows, own = first + warp * 16 * row_tiles;
  const tile_of k{dynamic_shared<T>()}, v = k.from_row(plan::rows), q = v.from_row(plan::rows), dy = q.from_row(2 * queries_a_tile);
  const tile_of own_k = k.from_row(warp * 16 * row_tiles), own_v = v.from_row(warp * 16 * row_tiles);
  float* const normalisers = reinterpret_cast<float*>(dy.data + 2 * queries_a_tile * Width);
  float* const products = normalisers + 2 * queries_a_tile;
  const T* const head_qkv = at.in_qkv(op, qkv);
  const auto start_queries = [&](int tile) {
    const int stage = tile % 2 * queries_a_tile, queries = tile * queries_a_tile;
    start_load<queries_a_tile, plan::threads>(head_qkv, 3 * op.width(), queries, length, q.from_row(stage));
    start_load<queries_a_tile, plan::threads>(at.in_out(op, dout), op.width(), queries, length, dy.from_row(stage));
    const int query = queries + int(threadIdx.x) % queries_a_tile, to = stage + int(threadIdx.x) % queries_a_tile;
    const bool inside = query < length;
    const std::size_t from = inside ? std::size_t(query) : 0;
    if (threadIdx.x < queries_a_tile) copy_4_bytes(normalisers + to, at.in_rows(op, log_sum_exp) + from, inside);
    else copy_4_bytes(products + to, at.in_qkv(op, dqkv) + from * 3 * op.width(), inside);
  };

  start_load<plan::rows, plan::threads>(head_qkv + op.width(), 3 * op.width(), first, length, k);
  start_load<plan::rows, plan::threads>(head_qkv + 2 * op.width(), 3 * op.width(), first, length, v);
  const int query_tiles = (length + queries_a_tile - 1) / queries_a_tile;
  start_queries(first / queries_a_tile);
  float dk[row_tiles][Width / 8][4] = {}, dv[row_tiles][Width / 8][4] = {};
  constexpr float scale = inverse_root(Width) * log2_of_e;
  for (int tile = first / queries_a_tile; tile < query_tiles; ++tile) {
    wait_for_copies();
    __syncthreads();  // this tile is there, and nobody reads the one before any more
    if (tile + 1 < query_tiles) start_queries(tile + 1);
    ENTRAIN_UNROLL_NOT for (int part = 0; part < queries_a_tile; part += step) {
      const int queries = tile * queries_a_tile + part, at_row = tile % 2 * queries_a_tile + part;
      if (queries + step <= own) continue;  // none of them sees these keys
      float p[row_tiles][step / 8][4] = {}, ds[row_tiles][step / 8][4] = {};
      add_dot_products<row_tiles, step>(own_k, q.from_row(at_row), p);
      const bool edge = queries < own + 16 * row_tiles - 1 || queries + step > length;
      ENTRAIN_UNROLL for (int n = 0; n < step / 8; ++n)
        ENTRAIN_UNROLL for (int e = 0; e < 2; ++e) {
          const int column = 8 * n + 2 * (lane % 4) + e, query = queries + column;
          const float normaliser = normalisers[at_row + column] * log2_of_e;
          ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
            ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
              const float probability = exp2_approximate(p[m][n][2 * half + e] * scale - normaliser);
              const bool hidden = edge && (query < own + 16 * m + 8 * half + lane / 4 || query >= length);
              p[m][n][2 * half + e] = hidden ? 0.0f : probability;
            }
        }
      add_product<row_tiles, step>(p, dy.from_row(at_row), dv);
      add_dot_products<row_tiles, step>(own_v, dy.from_row(at_row), ds);
      ENTRAIN_UNROLL for (int n = 0; n < step / 8; ++n)
        ENTRAIN_UNROLL for (int e = 0; e < 2; ++e) {
          const float product = products[at_row + 8 * n + 2 * (lane % 4) + e];
          ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
            ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) ds[m][n][2 * half + e] = p[m][n][2 * half + e] * (ds[m][n][2 * half + e] - product);
        }
      add_product<row_tiles, step>(ds, q.from_row(at_row), dk);
    }
  }
  T* const to = at.in_qkv(op, dqkv);
  store_sums<row_tiles>(dk, [](int, int) { return inverse_root(Width); }, own_k, to + op.width(), 3 * op.width(), own, length);
  store_sums<row_tiles>(dv, [](int, int) { return 1.0f; }, own_v, to + 2 * op.width(), 3 * op.width(), own, length);
}

template <class T, int Width>
__global__ void __launch_bounds__(128) queries_backward(nn::ops::causal_attention op, const T* qkv, const float* log_sum_exp, const T* dout, T* dqkv) {
  using plan = matrix_backward_plan<T, Width>;
  using tile_of = matrix_tile<T, Width>;
  constexpr int row_tiles = plan::row_tiles, keys_a_tile = plan::others, step = plan::step;
  const unsigned tiles = ceil_div(op.length, plan::rows);
  const head_place at(op, tiles);
  const int length = int(op.length), warp = int(threadIdx.x) / warp_size, lane = lane_of_warp();
  const int first = int(tiles - 1 - at.tile) * plan::rows, own = first + warp * 16 * row_tiles;  // the longest rows begin first
  const int key_tiles = (std::min(first + plan::rows, length) + keys_a_tile - 1) / keys_a_tile;
  const tile_of q{dynamic_shared<T>()}, dy = q.from_row(plan::rows), k = dy.from_row(plan::rows), v = k.from_row(2 * keys_a_tile);
  const tile_of own_q = q.from_row(warp * 16 * row_tiles), own_dy = dy.from_row(warp * 16 * row_tiles);
  const T* const head_qkv = at.in_qkv(op, qkv);
  const auto start_keys = [&](int tile) {
    const int stage = tile % 2 * keys_a_tile;
    start_load<keys_a_tile, plan::threads>(head_qkv + op.width(), 3 * op.width(), tile * keys_a_tile, length, k.from_row(stage));
    start_load<keys_a_tile, plan::threads>(head_qkv + 2 * op.width(), 3 * op.width(), tile * keys_a_tile, length, v.from_row(stage));
  };

  start_load<plan::rows, plan::threads>(head_qkv, 3 * op.width(), first, length, q);
  start_load<plan::rows, plan::threads>(at.in_out(op, dout), op.width(), first, length, dy);
  start_keys(0);
  float normaliser[row_tiles][2] = {}, product[row_tiles][2] = {};
  ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
    ENTRAIN_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = own + 16 * m + 8 * half + lane / 4;
      if (row >= length) continue;
      normaliser[m][half] = at.in_rows(op, log_sum_exp)[row] * log2_of_e;
      product[m][half] = *reinterpret_cast<const float*>(at.in_qkv(op, dqkv) + std::size_t(row) * 3 * op.width());
    }
  float dq[row_tiles][Width / 8][4] = {};
  constexpr float scale = inverse_root(Width) * log2_of_e;
  for (int tile = 0; tile < key_tiles; ++tile) {
    wait_for_copies();
    __syncthreads();
    if (tile + 1 < key_tiles) start_keys(tile + 1);
    ENTRAIN_UNROLL_NOT for (int part = 0; part < keys_a_tile; part += step) {
      const int keys = tile * keys_a_tile + part, at_row = tile % 2 * keys_a_tile + part;
      if (keys >= own + 16 * row_tiles) break;  // beyond the diagonal
      float p[row_tiles][step / 8][4] = {}, ds[row_tiles][step / 8][4] = {};
      add_dot_products<row_tiles, step>(own_q, k.from_row(at_row), p);
      add_dot_products<row_tiles, step>(own_dy, v.from_row(at_row), ds);
      const bool edge = keys + step > own + 1;
      ENTRAIN_UNROLL for (int m = 0; m < row_tiles; ++m)
        ENTRAIN_UNROLL for (int n = 0; n < step / 8; ++n)
          ENTRAIN_UNROLL for (int i = 0; i < 4; ++i) {
            const float probability = exp2_approximate(p[m][n][i] * scale - normaliser[m][i / 2]);
            const bool hidden = edge && keys + 8 * n + 2 * (lane % 4) + i % 2 > own + 16 * m + 8 * (i / 2) + lane / 4;
            ds[m][n][i] = hidden ? 0.0f : probability * (ds[m][n][i] - product[m][i / 2]);
          }
      add_product<row_tiles, step>(ds, k.from_row(at_row), dq);
    }
  }
  store_sums<row_tiles>(dq, [](int, int) { return inverse_root(Width); }, own_q, at.in_qkv(op, dqkv), 3 * op.width(), own, length);
}

template <int Width, class T>
void launch_matrix_backward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, const T* out, const float* log_sum_exp,
                            const T* dout, T* dqkv) {
  using plan = matrix_backward_plan<T, Width>;
  const unsigned blocks = unsigned(op.batch * op.heads * ceil_div(op.length, plan::rows));
  allow_shared(keys_backward<T, Width>, plan::keys_bytes);
  allow_shared(queries_backward<T, Width>, plan::queries_bytes);
  launch(queue, row_products<T, Width>, {ceil_div(op.batch * op.length * op.heads * 4, 256), 256}, op, out, dout, dqkv);
  launch(queue, keys_backward<T, Width>, {blocks, plan::threads, plan::keys_bytes}, op, qkv, log_sum_exp, dout, dqkv);
  launch(queue, queries_backward<T, Width>, {blocks, plan::threads, plan::queries_bytes}, op, qkv, log_sum_exp, dout, dqkv);
}

}  // namespace entrain::device::attention
