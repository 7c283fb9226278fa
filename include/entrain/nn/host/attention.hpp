// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/host/layer_norm.hpp>
#include <entrain/nn/host/transpose.hpp>
#include <entrain/nn/host/vector_math.hpp>
#include <entrain/nn/ops.hpp>

// Causal self-attention on floats, a head at a time: the head's q, k, v are copied into packed, zero-padded matrices; 64
// queries meet all keys up to their own, so the scores of a block (64 x length) stay in the second-level cache and each row
// needs one softmax. Tiles above the diagonal are neither computed nor read. The backward pass computes the probabilities
// again from log_sum_exp (Dao et al., "FlashAttention", arXiv:2205.14135, where no T x T matrix is kept either).

namespace entrain::nn::host::detail {

// c[rows, columns] (+)= a[rows, depth] * b[depth, columns] in registers; element (r, p) of A is a[r * row_step + p * depth_step].
template <std::size_t Rows, std::size_t Vectors>
[[gnu::always_inline]] inline void small_tile(std::size_t depth, const float* a, std::size_t row_step, std::size_t depth_step, const float* b,
                                              std::size_t ldb, float* c, std::size_t ldc, bool accumulate) {
  constexpr std::size_t step = lane_count<float>;
  float_lanes acc[Rows][Vectors];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) acc[r][v] = accumulate ? load(c + r * ldc + v * step) : float_lanes{};
  for (std::size_t p = 0; p < depth; ++p, a += depth_step, b += ldb) {
    float_lanes row[Vectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) row[v] = load(b + v * step);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      const float_lanes x = splat(a[r * row_step]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) acc[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 16
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) store(c + r * ldc + v * step, acc[r][v]);
}

inline constexpr std::size_t attention_rows = vector_bytes == 64 ? 8 : 4;  // of a register tile; 16 is a multiple of it

// One strip of attention_rows rows by `columns` (a multiple of 16).
[[gnu::noinline]] inline void small_strip(std::size_t columns, std::size_t depth, const float* a, std::size_t row_step, std::size_t depth_step, const float* b,
                                          std::size_t ldb, float* c, std::size_t ldc, bool accumulate) {
  constexpr std::size_t step = lane_count<float>;
  std::size_t j = 0;
  for (; j + 2 * step <= columns; j += 2 * step) small_tile<attention_rows, 2>(depth, a, row_step, depth_step, b + j, ldb, c + j, ldc, accumulate);
  for (; j < columns; j += step) small_tile<attention_rows, 1>(depth, a, row_step, depth_step, b + j, ldb, c + j, ldc, accumulate);
}

constexpr std::size_t padded(std::size_t n) { return (n + 15) / 16 * 16; }

// rows x columns out of a matrix with row stride `stride`, times `scale`, into a packed matrix with zeros around.
inline void gather_head(std::size_t rows, std::size_t columns, const float* from, std::size_t stride, float scale, float* to) {
  const std::size_t wide = padded(columns);
  for (std::size_t r = 0; r < padded(rows); ++r, to += wide) {
    if (r < rows) for_row<float>(columns, [&](std::size_t i, std::size_t n) { store_some<float>(to + i, load_some(from + r * stride + i, n) * scale, n); });
    std::fill(to + (r < rows ? columns : 0), to + wide, 0.0f);
  }
}
inline void scatter_head(std::size_t rows, std::size_t columns, const float* from, float scale, float* to, std::size_t stride) {
  for (std::size_t r = 0; r < rows; ++r)
    for_row<float>(columns, [&](std::size_t i, std::size_t n) { store_some<float>(to + r * stride + i, load_some(from + r * padded(columns) + i, n) * scale, n); });
}

// The sizes of one head and where its matrices lie in the workspace.
struct attention_head {
  static constexpr std::size_t block = 64;  // queries at a time
  std::size_t length, width, rows, columns;  // as given, and padded
  explicit attention_head(const ops::causal_attention& d)
      : length(d.length), width(d.head_width), rows(padded(d.length)), columns(padded(d.head_width)) {}
  float scale() const { return 1.0f / std::sqrt(float(width)); }
  std::size_t matrix() const { return rows * columns; }
  // Keys that the strip beginning at row i of the scores must see.
  std::size_t seen(std::size_t i) const { return std::min(rows, padded(i + attention_rows)); }
};

// Scores of queries [begin, end) with the keys they see: s[end - begin, rows].
inline void attention_scores(const attention_head& h, std::size_t begin, std::size_t end, const float* q, const float* keys_by_column, float* s) {
  for (std::size_t i = begin; i < end; i += attention_rows)
    small_strip(h.seen(i), h.columns, q + i * h.columns, h.columns, 1, keys_by_column, h.rows, s + (i - begin) * h.rows, h.rows, false);
}

// Row i of the scores becomes exp(score - shift) for keys <= i and zero for the rest of what its strip computed.
inline float attention_row(const attention_head& h, std::size_t i, float shift, float* s) {
  const float total = float(row_sum<float>(i + 1, [&](std::size_t j, std::size_t n) {
    float_lanes e = exp(load_some(s + j, n) - shift);
    if (n < lane_count<float>) e *= ones<float>(n);
    store_some<float>(s + j, e, n);
    return e;
  }));
  std::fill(s + i + 1, s + h.seen(i / attention_rows * attention_rows), 0.0f);
  return total;
}

inline float attention_maximum(std::size_t count, const float* s) {
  constexpr std::size_t step = lane_count<float>;
  float_lanes most = splat(s[0]);
  std::size_t j = 0;
  for (; j + step <= count; j += step) {
    const float_lanes x = load(s + j);
    most = most < x ? x : most;
  }
  float largest = maximum<float>(most);
  for (; j < count; ++j) largest = largest < s[j] ? s[j] : largest;
  return largest;
}

inline void attention_forward_head(const attention_head& h, const float* qkv, std::size_t qkv_stride, std::size_t width, float* out, float* log_sum_exp,
                                   float* workspace) {
  float* const q = workspace;
  float* const keys_by_column = q + h.matrix();
  float* const v = keys_by_column + h.matrix();
  float* const mixed = v + h.matrix();
  float* const s = mixed + h.matrix();
  gather_head(h.length, h.width, qkv + width, qkv_stride, 1.0f, mixed);
  transpose(h.rows, h.columns, mixed, h.columns, keys_by_column, h.rows);
  gather_head(h.length, h.width, qkv, qkv_stride, h.scale(), q);
  gather_head(h.length, h.width, qkv + 2 * width, qkv_stride, 1.0f, v);
  for (std::size_t begin = 0; begin < h.rows; begin += attention_head::block) {
    const std::size_t end = std::min(h.rows, begin + attention_head::block);
    attention_scores(h, begin, end, q, keys_by_column, s);
    for (std::size_t i = begin; i < std::min(end, h.length); ++i) {
      float* const row = s + (i - begin) * h.rows;
      const float largest = attention_maximum(i + 1, row), total = attention_row(h, i, largest, row), inverse = 1.0f / total;
      log_sum_exp[i] = largest + std::log(total);
      for_row<float>(i + 1, [&](std::size_t j, std::size_t n) { store_some<float>(row + j, load_some(row + j, n) * inverse, n); });
    }
    for (std::size_t i = begin; i < end; i += attention_rows)
      small_strip(h.columns, h.seen(i), s + (i - begin) * h.rows, h.rows, 1, v, h.columns, mixed + i * h.columns, h.columns, false);
  }
  scatter_head(h.length, h.width, mixed, 1.0f, out, width);
}

// dS = P * (dP - delta), where dP = dout * v^T and delta[i] = dout[i] . out[i]; p becomes P, ds becomes dS.
inline void attention_score_gradients(const attention_head& h, std::size_t begin, std::size_t end, const float* log_sum_exp, const float* delta, float* p, float* ds) {
  for (std::size_t i = begin; i < end; ++i) {
    float* const row = p + (i - begin) * h.rows;
    float* const gradient = ds + (i - begin) * h.rows;
    const std::size_t strip = h.seen(i / attention_rows * attention_rows);
    if (i >= h.length) {
      std::fill(row, row + strip, 0.0f);
      std::fill(gradient, gradient + strip, 0.0f);
      continue;
    }
    attention_row(h, i, log_sum_exp[i], row);
    for_row<float>(strip, [&](std::size_t j, std::size_t n) { store_some<float>(gradient + j, load_some(row + j, n) * (load_some(gradient + j, n) - delta[i]), n); });
  }
}

inline void attention_backward_head(const attention_head& h, const float* qkv, std::size_t qkv_stride, std::size_t width, const float* out, const float* log_sum_exp,
                                    const float* dout, float* dqkv, float* workspace) {
  float* const q = workspace;
  float* const k = q + h.matrix();
  float* const keys_by_column = k + h.matrix();
  float* const values_by_column = keys_by_column + h.matrix();
  float* const gradient = values_by_column + h.matrix();  // of the output
  float* const dq = gradient + h.matrix();
  float* const dk = dq + h.matrix();
  float* const dv = dk + h.matrix();
  float* const delta = dv + h.matrix();
  float* const p = delta + 4 * h.rows;
  float* const ds = p + h.rows * h.rows;
  gather_head(h.length, h.width, qkv + 2 * width, qkv_stride, 1.0f, k);
  transpose(h.rows, h.columns, k, h.columns, values_by_column, h.rows);
  gather_head(h.length, h.width, qkv + width, qkv_stride, 1.0f, k);
  transpose(h.rows, h.columns, k, h.columns, keys_by_column, h.rows);
  gather_head(h.length, h.width, qkv, qkv_stride, h.scale(), q);
  gather_head(h.length, h.width, dout, width, 1.0f, gradient);
  for (std::size_t i = 0; i < h.length; ++i)
    delta[i] = row_sum<float>(h.width, [&](std::size_t j, std::size_t n) { return load_some(out + i * width + j, n) * load_some(dout + i * width + j, n); });
  for (std::size_t begin = 0; begin < h.rows; begin += attention_head::block) {
    const std::size_t end = std::min(h.rows, begin + attention_head::block);
    attention_scores(h, begin, end, q, keys_by_column, p);
    attention_scores(h, begin, end, gradient, values_by_column, ds);
    attention_score_gradients(h, begin, end, log_sum_exp, delta, p, ds);
    for (std::size_t i = begin; i < end; i += attention_rows)
      small_strip(h.columns, h.seen(i), ds + (i - begin) * h.rows, h.rows, 1, k, h.columns, dq + i * h.columns, h.columns, false);
    for (std::size_t j = 0; j < end; j += attention_rows) {  // keys: only queries from their own strip on have seen them
      const std::size_t from = std::max(begin, j), skipped = (from - begin) * h.rows + j;
      const bool add = begin > j;  // the first block that reaches these keys writes, the others add
      small_strip(h.columns, end - from, ds + skipped, 1, h.rows, q + from * h.columns, h.columns, dk + j * h.columns, h.columns, add);
      small_strip(h.columns, end - from, p + skipped, 1, h.rows, gradient + from * h.columns, h.columns, dv + j * h.columns, h.columns, add);
    }
  }
  scatter_head(h.length, h.width, dq, h.scale(), dqkv, qkv_stride);
  scatter_head(h.length, h.width, dk, 1.0f, dqkv + width, qkv_stride);
  scatter_head(h.length, h.width, dv, 1.0f, dqkv + 2 * width, qkv_stride);
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

inline void forward(const engine::host&, const causal_attention& d, const float* qkv, float* out, float* log_sum_exp, float* workspace) {
  if (d.length == 0) return;
  const nn::host::detail::attention_head head(d);
  for (std::size_t b = 0; b < d.batch; ++b)
    for (std::size_t h = 0; h < d.heads; ++h)
      nn::host::detail::attention_forward_head(head, qkv + b * d.length * 3 * d.width() + h * d.head_width, 3 * d.width(), d.width(),
                                               out + b * d.length * d.width() + h * d.head_width, log_sum_exp + (b * d.heads + h) * d.length, workspace);
}

inline void backward(const engine::host&, const causal_attention& d, const float* qkv, const float* out, const float* log_sum_exp, const float* dout, float* dqkv,
                     float* workspace) {
  if (d.length == 0) return;
  const nn::host::detail::attention_head head(d);
  for (std::size_t b = 0; b < d.batch; ++b)
    for (std::size_t h = 0; h < d.heads; ++h) {
      const std::size_t wide = b * d.length * 3 * d.width() + h * d.head_width, narrow = b * d.length * d.width() + h * d.head_width;
      nn::host::detail::attention_backward_head(head, qkv + wide, 3 * d.width(), d.width(), out + narrow, log_sum_exp + (b * d.heads + h) * d.length,
                                                dout + narrow, dqkv + wide, workspace);
    }
}

}  // namespace entrain::nn::ops
