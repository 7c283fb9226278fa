// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Layer norm row by row, the row held in registers: by a warp, or a block of 256 threads, in at most 8 packs a thread; mean and spread
// are taken one after the other, so that nothing cancels. Rows that are longer, or that do not begin at multiples of 16 bytes, go
// element by element, a block a row, and read again what the caches hold.

namespace entrain::device {

// Who holds a row, as a type: Packs packs in each of `threads` threads.
template <int Packs, bool Block>
struct row_holder {
  static constexpr int packs = Packs, threads = Block ? 256 : warp_size, threads_a_block = Block ? 256 : 128, rows_a_block = threads_a_block / threads;
  __device__ static std::size_t row() { return std::size_t(blockIdx.x) * rows_a_block + threadIdx.x / threads; }
  template <class T>
  __device__ static std::size_t column(int i) { return (std::size_t(i) * threads + threadIdx.x % threads) * pack<T>::count; }
  template <class A>
  __device__ static A sum(A value) {
    if constexpr (Block) return block_sum(value);
    else return warp_sum(value);
  }
};

// Calls f(holder) with what holds rows of this width; false where nothing does.
template <class T, class F>
bool with_row_holder(std::size_t width, F&& f) {
  if (width % pack<T>::count != 0) return false;
  const std::size_t packs = width / pack<T>::count;
  if (packs <= 32) f(row_holder<1, false>{});
  else if (packs <= 64) f(row_holder<2, false>{});
  else if (packs <= 128) f(row_holder<4, false>{});
  else if (packs <= 256) f(row_holder<8, false>{});
  else if (packs <= 512) f(row_holder<2, true>{});
  else if (packs <= 2048) f(row_holder<8, true>{});
  else return false;
  return true;
}

template <class T, bool Add>
struct norm_forward {
  std::size_t rows, width;
  float epsilon;
  const T *a, *b;  // b: with Add
  const T *gain, *bias;
  T *sum, *out;  // sum: with Add
  nn::ops::statistic<T>*mean, *inverse_deviation;

  __device__ void keep(std::size_t row, arithmetic<T> m, arithmetic<T> inverse) const {
    mean[row] = nn::ops::statistic<T>(m), inverse_deviation[row] = nn::ops::statistic<T>(inverse);
  }
};

template <class Holder, class T, bool Add>
__global__ void __launch_bounds__(Holder::threads_a_block) layer_norm_forward(norm_forward<T, Add> op) {
  using A = arithmetic<T>;
  const std::size_t row = Holder::row(), first = row * op.width;
  if (row >= op.rows) return;
  pack<T> x[Holder::packs];
  A total = 0;
  ENTRAIN_UNROLL for (int i = 0; i < Holder::packs; ++i) {
    const std::size_t j = Holder::template column<T>(i);
    if (j >= op.width) continue;
    x[i] = load_once(op.a + first + j);
    if constexpr (Add) {
      const pack<T> other = load_once(op.b + first + j);
      ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) x[i].set(k, x[i][k] + other[k]);
      store(op.sum + first + j, x[i]);
    }
    ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) total += x[i][k];
  }
  const A mean = Holder::sum(total) / A(op.width);
  A squares = 0;
  ENTRAIN_UNROLL for (int i = 0; i < Holder::packs; ++i)
    if (Holder::template column<T>(i) < op.width) {
      ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) squares += (x[i][k] - mean) * (x[i][k] - mean);
    }
  const A inverse = A(1) / std::sqrt(Holder::sum(squares) / A(op.width) + A(op.epsilon));
  if (threadIdx.x % Holder::threads == 0) op.keep(row, mean, inverse);
  ENTRAIN_UNROLL for (int i = 0; i < Holder::packs; ++i) {
    const std::size_t j = Holder::template column<T>(i);
    if (j >= op.width) continue;
    const pack<T> gain = load(op.gain + j), bias = load(op.bias + j);
    ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) x[i].set(k, (x[i][k] - mean) * inverse * gain[k] + bias[k]);
    store(op.out + first + j, x[i]);
  }
}

template <class T, bool Add>
__global__ void layer_norm_forward_plain(norm_forward<T, Add> op) {
  using A = arithmetic<T>;
  const std::size_t row = blockIdx.x, first = row * op.width;
  const T* x = (Add ? op.sum : op.a) + first;
  A total = 0, squares = 0;
  for (std::size_t j = threadIdx.x; j < op.width; j += blockDim.x) {
    if constexpr (Add) op.sum[first + j] = T(A(op.a[first + j]) + A(op.b[first + j]));
    total += A(x[j]);
  }
  const A mean = block_sum(total) / A(op.width);
  for (std::size_t j = threadIdx.x; j < op.width; j += blockDim.x) squares += (A(x[j]) - mean) * (A(x[j]) - mean);
  const A inverse = A(1) / std::sqrt(block_sum(squares) / A(op.width) + A(op.epsilon));
  if (threadIdx.x == 0) op.keep(row, mean, inverse);
  for (std::size_t j = threadIdx.x; j < op.width; j += blockDim.x) op.out[first + j] = T((A(x[j]) - mean) * inverse * A(op.gain[j]) + A(op.bias[j]));
}

template <class T, bool Add>
struct norm_backward {
  std::size_t rows, width;
  const T *in, *gain;
  const nn::ops::statistic<T>*mean, *inverse_deviation;
  const T *dout, *dsum;  // dsum: with Add
  T* din;
};

template <class Holder, class T, bool Add>
__global__ void __launch_bounds__(Holder::threads_a_block) layer_norm_backward_input(norm_backward<T, Add> op) {
  using A = arithmetic<T>;
  const std::size_t row = Holder::row(), first = row * op.width;
  if (row >= op.rows) return;
  const A mean = A(op.mean[row]), inverse = A(op.inverse_deviation[row]);
  pack<T> x[Holder::packs], dy[Holder::packs];
  A total = 0, projected = 0;
  ENTRAIN_UNROLL for (int i = 0; i < Holder::packs; ++i) {
    const std::size_t j = Holder::template column<T>(i);
    if (j >= op.width) continue;
    x[i] = load(op.in + first + j), dy[i] = load(op.dout + first + j);
    const pack<T> gain = load(op.gain + j);
    ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) {
      const A g = gain[k] * dy[i][k];
      total += g, projected += g * ((x[i][k] - mean) * inverse);
    }
  }
  total = Holder::sum(total) / A(op.width), projected = Holder::sum(projected) / A(op.width);
  ENTRAIN_UNROLL for (int i = 0; i < Holder::packs; ++i) {
    const std::size_t j = Holder::template column<T>(i);
    if (j >= op.width) continue;
    const pack<T> gain = load(op.gain + j);
    pack<T> before{};
    if constexpr (Add) before = load_once(op.dsum + first + j);
    ENTRAIN_UNROLL for (int k = 0; k < pack<T>::count; ++k) {
      const A dx = inverse * (gain[k] * dy[i][k] - total - (x[i][k] - mean) * inverse * projected);
      dy[i].set(k, Add ? before[k] + dx : dx);
    }
    store(op.din + first + j, dy[i]);
  }
}

template <class T, bool Add>
__global__ void layer_norm_backward_input_plain(norm_backward<T, Add> op) {
  using A = arithmetic<T>;
  const std::size_t row = blockIdx.x, first = row * op.width;
  const A mean = A(op.mean[row]), inverse = A(op.inverse_deviation[row]);
  A total = 0, projected = 0;
  for (std::size_t j = threadIdx.x; j < op.width; j += blockDim.x) {
    const A g = A(op.gain[j]) * A(op.dout[first + j]);
    total += g, projected += g * ((A(op.in[first + j]) - mean) * inverse);
  }
  total = block_sum(total) / A(op.width), projected = block_sum(projected) / A(op.width);
  for (std::size_t j = threadIdx.x; j < op.width; j += blockDim.x) {
    const A dx = inverse * (A(op.gain[j]) * A(op.dout[first + j]) - total - (A(op.in[first + j]) - mean) * inverse * projected);
    if constexpr (Add) op.din[first + j] = T(A(op.dsum[first + j]) + dx);
    else op.din[first + j] = T(dx);
  }
}

}  // namespace entrain::device
