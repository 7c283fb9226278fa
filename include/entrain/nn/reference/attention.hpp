// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Causal attention (Vaswani et al., 2017), one head and one row at a time. As in FlashAttention (Dao et al., 2022) only
// the logarithm of each row's normaliser is kept; the backward pass computes the probabilities again from it, and uses
//   dscore[i, j] = p[i, j] * (dout[i] . v[j] - dout[i] . out[i]).

namespace entrain::nn::ops {

namespace detail {

template <class T>
T dot(const T* a, const T* b, std::size_t n) {
  T sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
void add_scaled(T factor, const T* from, T* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

}  // namespace detail

template <class T>
void forward(const engine::reference&, const causal_attention& op, const T* qkv, T* out, statistic<T>* log_sum_exp, T* workspace) {
  const std::size_t width = op.width(), stride = 3 * width, d = op.head_width;
  if (op.length == 0) return;
  const T scale = T(1) / std::sqrt(T(d));
  T* score = workspace;
  for (std::size_t b = 0; b < op.batch; ++b)
    for (std::size_t h = 0; h < op.heads; ++h) {
      const T *q = qkv + b * op.length * stride + h * d, *k = q + width, *v = k + width;
      for (std::size_t i = 0; i < op.length; ++i) {
        T* y = out + (b * op.length + i) * width + h * d;
        for (std::size_t j = 0; j <= i; ++j) score[j] = scale * detail::dot(q + i * stride, k + j * stride, d);
        const T largest = *std::max_element(score, score + i + 1);
        T sum = 0;
        for (std::size_t j = 0; j <= i; ++j) sum += std::exp(score[j] - largest);
        const T normaliser = largest + std::log(sum);
        log_sum_exp[(b * op.heads + h) * op.length + i] = normaliser;
        std::fill_n(y, d, T(0));
        for (std::size_t j = 0; j <= i; ++j) detail::add_scaled(std::exp(score[j] - normaliser), v + j * stride, y, d);
      }
    }
}

template <class T>
void backward(const engine::reference&, const causal_attention& op, const T* qkv, const T* out, const statistic<T>* log_sum_exp, const T* dout,
              T* dqkv, T*) {
  const std::size_t width = op.width(), stride = 3 * width, d = op.head_width;
  if (op.length == 0) return;
  const T scale = T(1) / std::sqrt(T(d));
  std::fill_n(dqkv, op.batch * op.length * stride, T(0));
  for (std::size_t b = 0; b < op.batch; ++b)
    for (std::size_t h = 0; h < op.heads; ++h) {
      const std::size_t first = b * op.length * stride + h * d;
      const T *q = qkv + first, *k = q + width, *v = k + width;
      T *dq = dqkv + first, *dk = dq + width, *dv = dk + width;
      for (std::size_t i = 0; i < op.length; ++i) {
        const std::size_t row = (b * op.length + i) * width + h * d;
        const T* dy = dout + row;
        const T own = detail::dot(dy, out + row, d), normaliser = log_sum_exp[(b * op.heads + h) * op.length + i];
        for (std::size_t j = 0; j <= i; ++j) {
          const T p = std::exp(scale * detail::dot(q + i * stride, k + j * stride, d) - normaliser);
          const T ds = scale * p * (detail::dot(dy, v + j * stride, d) - own);
          detail::add_scaled(p, dy, dv + j * stride, d);
          detail::add_scaled(ds, k + j * stride, dq + i * stride, d);
          detail::add_scaled(ds, q + i * stride, dk + j * stride, d);
        }
      }
    }
}

}  // namespace entrain::nn::ops
