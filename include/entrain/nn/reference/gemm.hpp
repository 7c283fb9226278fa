// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/core/config.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Plain matrix product, row sums and additions. The product packs a panel of op(B) so that one loop serves all four
// transpositions, and keeps a 4 x 32 tile of C in local variables that a compiler turns into vector
// registers (with 16 columns g++ 12 unrolls the inner loop before it looks for vectors, and the product is 50 times slower).

namespace entrain::nn::ops {

namespace detail {

inline constexpr std::size_t gemm_depth = 128, gemm_columns = 64, gemm_tile_rows = 4, gemm_tile_columns = 32;

// panel[p, j] = op(B)[first_row + p, first_column + j], zero beyond the edge.
template <class T>
void pack_panel(const gemm& g, const T* b, std::size_t first_row, std::size_t depth, std::size_t first_column, std::size_t columns,
                T* panel) {
  for (std::size_t p = 0; p < depth; ++p) {
    T* row = panel + p * gemm_columns;
    const std::size_t k = first_row + p;
    if (g.transpose_b)
      for (std::size_t j = 0; j < columns; ++j) row[j] = b[(first_column + j) * g.ldb + k];
    else std::copy_n(b + k * g.ldb + first_column, columns, row);
    std::fill(row + columns, row + gemm_columns, T(0));
  }
}

// c[Rows, columns] += alpha * a[Rows, depth] * panel[depth, 32]; element (r, p) of A is a[r * row_step + p * depth_step].
template <std::size_t Rows, class T>
void multiply_tile(std::size_t depth, const T* a, std::size_t row_step, std::size_t depth_step, const T* panel, T alpha, T* c,
                   std::size_t ldc, std::size_t columns) {
  T sum[Rows][gemm_tile_columns] = {};
  for (std::size_t p = 0; p < depth; ++p) {
    const T* row = panel + p * gemm_columns;
    for (std::size_t r = 0; r < Rows; ++r) {
      const T factor = a[r * row_step + p * depth_step];
      ENTRAIN_VECTORISE
      for (std::size_t j = 0; j < gemm_tile_columns; ++j) sum[r][j] += factor * row[j];
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t j = 0; j < columns; ++j) c[r * ldc + j] += alpha * sum[r][j];
}

}  // namespace detail

template <class T>
void run(const engine::reference&, const gemm& g, const T* a, const T* b, T* c) {
  using namespace detail;
  for (std::size_t i = 0; i < g.m; ++i) {
    T* row = c + i * g.ldc;
    if (g.beta == 0) std::fill_n(row, g.n, T(0));
    else if (g.beta != 1)
      for (std::size_t j = 0; j < g.n; ++j) row[j] *= T(g.beta);
  }
  const std::size_t row_step = g.transpose_a ? 1 : g.lda, depth_step = g.transpose_a ? g.lda : 1;
  T panel[gemm_depth * gemm_columns];
  for (std::size_t p = 0; p < g.k; p += gemm_depth)
    for (std::size_t j = 0; j < g.n; j += gemm_columns) {
      const std::size_t depth = std::min(gemm_depth, g.k - p), columns = std::min(gemm_columns, g.n - j);
      pack_panel(g, b, p, depth, j, columns, panel);
      for (std::size_t i = 0; i < g.m; i += gemm_tile_rows)
        for (std::size_t t = 0; t < columns; t += gemm_tile_columns) {
          const T* from = a + i * row_step + p * depth_step;
          T* to = c + i * g.ldc + j + t;
          const std::size_t width = std::min(gemm_tile_columns, columns - t);
          if (g.m - i >= gemm_tile_rows)
            multiply_tile<gemm_tile_rows>(depth, from, row_step, depth_step, panel + t, T(g.alpha), to, g.ldc, width);
          else
            for (std::size_t r = 0; r < g.m - i; ++r)
              multiply_tile<1>(depth, from + r * row_step, row_step, depth_step, panel + t, T(g.alpha), to + r * g.ldc, g.ldc, width);
        }
    }
}

template <class T>
void run(const engine::reference&, const broadcast_rows& op, const T* bias, T* out) {
  for (std::size_t r = 0; r < op.rows; ++r) std::copy_n(bias, op.width, out + r * op.width);
}

template <class T>
void run(const engine::reference&, const column_sum& op, const T* in, T* out) {
  if (!op.accumulate) std::fill_n(out, op.width, T(0));
  for (std::size_t r = 0; r < op.rows; ++r) {
    const T* row = in + r * op.width;
    ENTRAIN_VECTORISE
    for (std::size_t j = 0; j < op.width; ++j) out[j] += row[j];
  }
}

template <class T>
void run(const engine::reference&, const add& op, const T* a, const T* b, T* out) {
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < op.count; ++i) out[i] = a[i] + b[i];
}

}  // namespace entrain::nn::ops
