// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include <cuda_runtime.h>

#include <entrain/core/error.hpp>
#include <entrain/device/launch.cuh>
#include <entrain/device/nn/attention/head_place.cuh>
#include <entrain/device/nn/attention/shared_matrix.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Causal attention for every element type and head width, with tiles of Side rows in shared memory: one block a tile of queries, or in
// the backward pass of keys, of one head. Products are taken in float (double for double) and added in a fixed order.
//
// Forward, as in Dao et al., 2022: for each tile of keys up to the diagonal the scores, then for each row the largest so far, to which
// the sum and the output row are rescaled. 4 length^2 / 2 head_width flops a head; it reads shared memory five times for four
// multiply-adds, so about a quarter of the fp32 peak is its bound: 12 heads of width 64, batch 32, length 1024 are 52 GFLOP, about
// 3.5 ms on an H200 (60 TFLOP/s fp32), and 2.5 (backward: 3.5) times as much there and back. Bytes do not matter: each tile of keys
// is read from the second-level cache.

namespace entrain::device::attention {

inline constexpr int plain_threads = 256;
inline constexpr std::size_t plain_shared = 99 * 1024;  // what a block may have on every device since sm_80

template <class T, int Side>
__global__ void __launch_bounds__(plain_threads) plain_forward(nn::ops::causal_attention op, const T* qkv, T* out, nn::ops::statistic<T>* log_sum_exp) {
  using A = arithmetic<T>;
  const int width = int(op.head_width), length = int(op.length), lane = int(threadIdx.x) % warp_size;
  const unsigned tiles = ceil_div(op.length, Side);
  const head_place at(op, tiles);
  const int first = int(tiles - 1 - at.tile) * Side;  // the longest rows begin first
  const A scale = A(1) / std::sqrt(A(width));
  shared_allocator<A> memory;
  const auto q = memory.matrix(Side, width), k = memory.matrix(Side, width), v = memory.matrix(Side, width), y = memory.matrix(Side, width);
  const auto score = memory.matrix(Side, Side);
  A *largest = memory.vector(Side), *sum = memory.vector(Side);

  load_rows<Side>(at.in_qkv(op, qkv), 3 * op.width(), first, length, width, q);
  for (int i = int(threadIdx.x); i < Side * width; i += plain_threads) y(i / width, i % width) = 0;
  if (threadIdx.x < Side) largest[threadIdx.x] = -std::numeric_limits<A>::infinity(), sum[threadIdx.x] = 0;
  for (int keys = 0; keys <= first; keys += Side) {
    load_rows<Side>(at.in_qkv(op, qkv) + op.width(), 3 * op.width(), keys, length, width, k);
    load_rows<Side>(at.in_qkv(op, qkv) + 2 * op.width(), 3 * op.width(), keys, length, width, v);
    __syncthreads();
    multiply<false>(Side, Side, width, q, k.transposed(), score);
    __syncthreads();
    for (int r = int(threadIdx.x) / warp_size; r < Side; r += plain_threads / warp_size) {
      const bool seen = lane < Side && keys + lane <= first + r;
      const A mine = seen ? scale * score(r, lane) : -std::numeric_limits<A>::infinity();
      const A before = largest[r], now = larger::combine(before, warp_max(mine));  // finite: key 0 is in the first tile
      const A p = std::exp(mine - now), factor = std::exp(before - now), all = warp_sum(p);
      if (lane < Side) score(r, lane) = p;
      for (int c = lane; c < width; c += warp_size) y(r, c) *= factor;
      __syncwarp();
      if (lane == 0) largest[r] = now, sum[r] = sum[r] * factor + all;
    }
    __syncthreads();
    multiply<true>(Side, width, Side, score, v, y);
    __syncthreads();
  }
  for (int i = int(threadIdx.x); i < Side * width; i += plain_threads) {
    const int r = i / width, c = i % width;
    if (first + r < length) at.in_out(op, out)[std::size_t(first + r) * op.width() + c] = T(y(r, c) / sum[r]);
  }
  if (threadIdx.x < Side && first + int(threadIdx.x) < length)
    at.in_rows(op, log_sum_exp)[first + threadIdx.x] = nn::ops::statistic<T>(largest[threadIdx.x] + std::log(sum[threadIdx.x]));
}

// What both backward kernels need of a tile of queries and one of keys.
template <class A, int Side>
struct plain_pair {
  shared_matrix<A> q, dy, k, v, p, ds;
  A *own, *normaliser;  // of each query: dout . out, log_sum_exp
  __device__ plain_pair(shared_allocator<A>& memory, int width)
      : q(memory.matrix(Side, width)), dy(memory.matrix(Side, width)), k(memory.matrix(Side, width)), v(memory.matrix(Side, width)),
        p(memory.matrix(Side, Side)), ds(memory.matrix(Side, Side)), own(memory.vector(Side)), normaliser(memory.vector(Side)) {}

  template <class T>
  __device__ void load_queries(const nn::ops::causal_attention& op, const head_place& at, int first, const T* qkv, const T* out,
                               const nn::ops::statistic<T>* log_sum_exp, const T* dout) const {
    const int width = int(op.head_width), length = int(op.length), lane = int(threadIdx.x) % warp_size;
    load_rows<Side>(at.in_qkv(op, qkv), 3 * op.width(), first, length, width, q);
    load_rows<Side>(at.in_out(op, dout), op.width(), first, length, width, dy);
    for (int r = int(threadIdx.x) / warp_size; r < Side; r += plain_threads / warp_size) {
      A sum = 0;
      const std::size_t row = std::size_t(first + r) * op.width();
      if (first + r < length)
        for (int c = lane; c < width; c += warp_size) sum += A(at.in_out(op, dout)[row + c]) * A(at.in_out(op, out)[row + c]);
      sum = warp_sum(sum);
      if (lane == 0) own[r] = sum, normaliser[r] = first + r < length ? A(at.in_rows(op, log_sum_exp)[first + r]) : A(0);
    }
  }
  template <class T>
  __device__ void load_keys(const nn::ops::causal_attention& op, const head_place& at, int first, const T* qkv) const {
    load_rows<Side>(at.in_qkv(op, qkv) + op.width(), 3 * op.width(), first, int(op.length), int(op.head_width), k);
    load_rows<Side>(at.in_qkv(op, qkv) + 2 * op.width(), 3 * op.width(), first, int(op.length), int(op.head_width), v);
  }
  // p and ds = dscore * scale, zero where a query does not see a key.
  __device__ void scores(int queries, int keys, int length, int width) const {
    const A scale = A(1) / std::sqrt(A(width));
    multiply<false>(Side, Side, width, q, k.transposed(), p);
    multiply<false>(Side, Side, width, dy, v.transposed(), ds);
    __syncthreads();
    for (int i = int(threadIdx.x); i < Side * Side; i += plain_threads) {
      const int r = i / Side, c = i % Side;
      const bool seen = keys + c <= queries + r && queries + r < length;
      const A probability = seen ? std::exp(scale * p(r, c) - normaliser[r]) : A(0);
      p(r, c) = probability;
      ds(r, c) = seen ? scale * probability * (ds(r, c) - own[r]) : A(0);
    }
    __syncthreads();
  }
};

// One block a tile of keys: dk and dv.
template <class T, int Side>
__global__ void __launch_bounds__(plain_threads) plain_backward_keys(nn::ops::causal_attention op, const T* qkv, const T* out, const nn::ops::statistic<T>* log_sum_exp,
                                                                     const T* dout, T* dqkv) {
  using A = arithmetic<T>;
  const int width = int(op.head_width), length = int(op.length);
  const head_place at(op, ceil_div(op.length, Side));
  const int keys = int(at.tile) * Side;
  shared_allocator<A> memory;
  const plain_pair<A, Side> pair(memory, width);
  const auto dk = memory.matrix(Side, width), dv = memory.matrix(Side, width);
  pair.load_keys(op, at, keys, qkv);
  for (int i = int(threadIdx.x); i < Side * width; i += plain_threads) dk(i / width, i % width) = 0, dv(i / width, i % width) = 0;
  for (int queries = keys; queries < length; queries += Side) {
    pair.load_queries(op, at, queries, qkv, out, log_sum_exp, dout);
    __syncthreads();
    pair.scores(queries, keys, length, width);
    multiply<true>(Side, width, Side, pair.p.transposed(), pair.dy, dv);
    multiply<true>(Side, width, Side, pair.ds.transposed(), pair.q, dk);
    __syncthreads();
  }
  store_rows<Side>(dk, at.in_qkv(op, dqkv) + op.width(), 3 * op.width(), keys, length, width);
  store_rows<Side>(dv, at.in_qkv(op, dqkv) + 2 * op.width(), 3 * op.width(), keys, length, width);
}

// One block a tile of queries: dq.
template <class T, int Side>
__global__ void __launch_bounds__(plain_threads) plain_backward_queries(nn::ops::causal_attention op, const T* qkv, const T* out,
                                                                        const nn::ops::statistic<T>* log_sum_exp, const T* dout, T* dqkv) {
  using A = arithmetic<T>;
  const int width = int(op.head_width), length = int(op.length);
  const unsigned tiles = ceil_div(op.length, Side);
  const head_place at(op, tiles);
  const int queries = int(tiles - 1 - at.tile) * Side;
  shared_allocator<A> memory;
  const plain_pair<A, Side> pair(memory, width);
  const auto dq = memory.matrix(Side, width);
  pair.load_queries(op, at, queries, qkv, out, log_sum_exp, dout);
  for (int i = int(threadIdx.x); i < Side * width; i += plain_threads) dq(i / width, i % width) = 0;
  for (int keys = 0; keys <= queries; keys += Side) {
    pair.load_keys(op, at, keys, qkv);
    __syncthreads();
    pair.scores(queries, keys, length, width);
    multiply<true>(Side, width, Side, pair.ds, pair.k, dq);
    __syncthreads();
  }
  store_rows<Side>(dq, at.in_qkv(op, dqkv), 3 * op.width(), queries, length, width);
}

// Calls f with the largest side whose tiles fit: f(std::integral_constant<int, Side>, bytes).
template <class T, int Side = 32, class F>
void with_plain_side(const nn::ops::causal_attention& op, F&& f) {
  const std::size_t bytes = shared_allocator<arithmetic<T>>::bytes(6, 2, 2, Side, op.head_width);
  if (bytes <= plain_shared) f(std::integral_constant<int, Side>{}, bytes);
  else if constexpr (Side > 4) with_plain_side<T, Side / 2>(op, f);
  else throw usage_error("causal_attention on the device", "heads too wide for shared memory", "at most " + std::to_string(plain_shared / (24 * sizeof(arithmetic<T>)) - 8),
                         std::to_string(op.head_width));
}

template <class T>
void launch_plain_forward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, T* out, nn::ops::statistic<T>* log_sum_exp) {
  with_plain_side<T>(op, [&](auto side, std::size_t bytes) {
    constexpr int rows = decltype(side)::value;
    allow_shared(plain_forward<T, rows>, bytes);
    launch(queue, plain_forward<T, rows>, {unsigned(op.batch * op.heads * ceil_div(op.length, rows)), plain_threads, bytes}, op, qkv, out, log_sum_exp);
  });
}

template <class T>
void launch_plain_backward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, const T* out, const nn::ops::statistic<T>* log_sum_exp,
                           const T* dout, T* dqkv) {
  with_plain_side<T>(op, [&](auto side, std::size_t bytes) {
    constexpr int rows = decltype(side)::value;
    const shape how{unsigned(op.batch * op.heads * ceil_div(op.length, rows)), plain_threads, bytes};
    allow_shared(plain_backward_keys<T, rows>, bytes);
    allow_shared(plain_backward_queries<T, rows>, bytes);
    launch(queue, plain_backward_keys<T, rows>, how, op, qkv, out, log_sum_exp, dout, dqkv);
    launch(queue, plain_backward_queries<T, rows>, how, op, qkv, out, log_sum_exp, dout, dqkv);
  });
}

}  // namespace entrain::device::attention
