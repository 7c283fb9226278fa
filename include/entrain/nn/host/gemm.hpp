// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/core/memory.hpp>
#include <entrain/nn/host/transpose.hpp>
#include <entrain/nn/host/vector.hpp>
#include <entrain/nn/ops.hpp>

// Matrix product on one core, after Goto and van de Geijn ("Anatomy of high-performance matrix multiplication", TOMS 2008):
// B is copied into panels `tile_columns` wide that the first-level cache holds, A is read in place when its rows run along
// k and copied into panels of `tile_rows` otherwise, and a tile of C lives in registers for a whole block of k. Tile and
// block sizes are those measured best on AVX-512 (bench/step prints what is reached); a narrower processor runs the same
// code with a smaller tile. Scratch: two panels' blocks a thread, allocated at its first product.

namespace entrain::nn::host {

template <class T>
struct gemm_blocking {
#if defined(__AVX512F__)
  static constexpr std::size_t tile_rows = 8, tile_vectors = 3;
#elif defined(__AVX__)
  static constexpr std::size_t tile_rows = 6, tile_vectors = 2;
#else
  static constexpr std::size_t tile_rows = 4, tile_vectors = 2;
#endif
  static constexpr std::size_t tile_columns = tile_vectors * lane_count<T>;
  static constexpr std::size_t most_k = 1024 / sizeof(T);           // one panel of B: 48 KiB at most
  static constexpr std::size_t even_k = 768 / sizeof(T);            // preferred when k is cut at all
  static constexpr std::size_t most_chunk = 3072 / sizeof(T);       // k of a block of packed A
  static constexpr std::size_t block_elements = (1 << 20) / sizeof(T);  // of packed A: half a second-level cache
  static constexpr std::size_t pack_from = 4 * tile_columns;        // with fewer columns, or short rows, packing A costs more than it brings
};

namespace detail {

// acc += A[rows, depth] * B[depth, columns] for one tile; element (r, p) of A is a[r * row_step + p * depth_step].
template <class T, std::size_t Rows, std::size_t Vectors>
[[gnu::always_inline]] inline void multiply_tile(std::size_t depth, const T* a, std::size_t row_step, std::size_t depth_step,
                                                 const T* b, lanes<T> (&acc)[Rows][Vectors]) {
  for (std::size_t p = 0; p < depth; ++p, a += depth_step, b += gemm_blocking<T>::tile_columns) {
    lanes<T> column[Vectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) column[v] = load(b + v * lane_count<T>);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
      const lanes<T> row = splat(a[r * row_step]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) acc[r][v] += row * column[v];
    }
  }
}

// One tile of C: c = alpha * A * B + beta * c (+ bias, where given, in every row), of which `rows` x `columns` exist.
template <class T, std::size_t Vectors>
[[gnu::noinline]] void gemm_tile(std::size_t depth, const T* a, std::size_t row_step, std::size_t depth_step, const T* b, T* c,
                                 std::size_t ldc, std::size_t rows, std::size_t columns, T alpha, T beta, const T* bias) {
  constexpr std::size_t tile_rows = gemm_blocking<T>::tile_rows;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t v = 0; v < Vectors; ++v) __builtin_prefetch(c + r * ldc + v * lane_count<T>, 1);
  lanes<T> acc[tile_rows][Vectors];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < tile_rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) acc[r][v] = lanes<T>{};
  multiply_tile<T>(depth, a, row_step, depth_step, b, acc);

  const bool whole = rows == tile_rows && columns == Vectors * lane_count<T> && alpha == T(1);
  if (whole && bias && beta == T(0)) {
    lanes<T> row[Vectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) row[v] = load(bias + v * lane_count<T>);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < tile_rows; ++r)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) store<T>(c + r * ldc + v * lane_count<T>, acc[r][v] + row[v]);
    return;
  }
  if (whole && !bias && (beta == T(0) || beta == T(1))) {
#pragma GCC unroll 16
    for (std::size_t r = 0; r < tile_rows; ++r)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) {
        T* const to = c + r * ldc + v * lane_count<T>;
        store(to, beta == T(0) ? acc[r][v] : acc[r][v] + load<T>(to));
      }
    return;
  }
  T tile[tile_rows][Vectors * lane_count<T>];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < tile_rows; ++r)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < Vectors; ++v) store(&tile[r][v * lane_count<T>], acc[r][v]);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = 0; j < columns; ++j)
      c[r * ldc + j] = alpha * tile[r][j] + (beta == T(0) ? T(0) : beta * c[r * ldc + j]) + (bias ? bias[j] : T(0));
}

// B[depth, columns] into one panel; missing columns become zeros.
template <class T>
void pack_panel(std::size_t depth, std::size_t columns, const T* b, std::size_t ldb, bool transposed, T* to) {
  constexpr std::size_t wide = gemm_blocking<T>::tile_columns;
  if (columns < wide)
    for (std::size_t p = 0; p < depth; ++p) std::fill(to + p * wide + columns, to + (p + 1) * wide, T(0));
  if (transposed) {
    transpose(columns, depth, b, ldb, to, wide);
  } else if (columns == wide) {
    for (std::size_t p = 0; p < depth; ++p)
      for (std::size_t v = 0; v < wide; v += lane_count<T>) store(to + p * wide + v, load(b + p * ldb + v));
  } else {
    for (std::size_t p = 0; p < depth; ++p) std::copy_n(b + p * ldb, columns, to + p * wide);
  }
}

// Asks for part `part` of `parts` of the memory that pack_panel will read next, while the arithmetic is busy.
template <class T>
void prefetch_panel(std::size_t rows, std::size_t row_elements, const T* b, std::size_t ldb, std::size_t part, std::size_t parts) {
  for (std::size_t r = rows * part / parts, end = rows * (part + 1) / parts; r < end; ++r)
    for (std::size_t j = 0; j < row_elements + lane_count<T> - 1; j += lane_count<T>)
      __builtin_prefetch(b + r * ldb + std::min(j, row_elements - 1), 0, 2);
}

// A[rows, depth] into panels of tile_rows, each [depth, tile_rows]; missing rows become zeros. `transposed`: A is stored [depth, rows].
template <class T>
void pack_rows(std::size_t rows, std::size_t depth, const T* a, std::size_t lda, bool transposed, T* to) {
  constexpr std::size_t high = gemm_blocking<T>::tile_rows, side = lane_count<T>;
  for (std::size_t i = 0; i < rows; i += high, to += depth * high) {
    const std::size_t some = std::min(high, rows - i);
    if (some == high && transposed) {
      for (std::size_t p = 0; p < depth; ++p) std::memcpy(to + p * high, a + p * lda + i, high * sizeof(T));
      continue;
    }
    std::size_t p = 0;
    if (2 * high == side && i + side <= rows && !transposed) {  // two panels at once through a square of registers
      T square[side * side];
      for (; p + side <= depth; p += side) {
        transpose_square(a + i * lda + p, lda, square, side);
        for (std::size_t q = 0; q < side; ++q) {
          std::memcpy(to + (p + q) * high, square + q * side, high * sizeof(T));
          std::memcpy(to + (depth + p + q) * high, square + q * side + high, high * sizeof(T));
        }
      }
      for (std::size_t q = p; q < depth; ++q)
        for (std::size_t r = 0; r < side; ++r) to[(r / high * depth + q) * high + r % high] = a[(i + r) * lda + q];
      i += high, to += depth * high;
      continue;
    }
    for (; p < depth; ++p)
      for (std::size_t r = 0; r < high; ++r) to[p * high + r] = r < some ? (transposed ? a[p * lda + i + r] : a[(i + r) * lda + p]) : T(0);
  }
}

// Space for one block of packed A and one panel of packed B, one a thread.
template <class T>
struct gemm_scratch {
  using blocking = gemm_blocking<T>;
  buffer<T> a{blocking::block_elements};
  buffer<T> b{blocking::tile_columns * blocking::most_k};
  static gemm_scratch& of_this_thread() {
    thread_local gemm_scratch scratch;
    return scratch;
  }
};

// How k and the rows of A are cut: `depth` for a panel of B, `chunk` (several depths) and `rows` for a block of packed A.
template <class T>
struct gemm_cut {
  std::size_t depth, chunk, rows;
  bool pack_a;
  explicit gemm_cut(const ops::gemm& d) {
    using blocking = gemm_blocking<T>;
    const std::size_t cuts = d.k <= blocking::most_k ? 1 : (d.k + blocking::even_k - 1) / blocking::even_k;
    depth = (d.k + cuts - 1) / cuts;
    chunk = depth * std::max<std::size_t>(1, blocking::most_chunk / depth);
    rows = blocking::block_elements / std::min(chunk, d.k) / blocking::tile_rows * blocking::tile_rows;
    if (d.m > rows) {  // even blocks
      const std::size_t blocks = (d.m + rows - 1) / rows;
      rows = std::min(rows, ((d.m + blocks - 1) / blocks + blocking::tile_rows - 1) / blocking::tile_rows * blocking::tile_rows);
    }
    pack_a = d.transpose_a || d.lda * sizeof(T) % 4096 == 0 || (d.n >= blocking::pack_from && d.lda * sizeof(T) > 1024);
  }
};

// One chunk of k for one block of rows: C[rows, n] = alpha * A * B + beta * C.
template <class T>
void multiply_rows(const ops::gemm& d, const gemm_cut<T>& cut, std::size_t rows, std::size_t chunk, const T* a, const T* b, T* c, T beta, const T* bias,
                   gemm_scratch<T>& scratch) {
  using blocking = gemm_blocking<T>;
  constexpr std::size_t high = blocking::tile_rows, wide = blocking::tile_columns;
  const std::size_t tiles = (rows + high - 1) / high, in_place = cut.pack_a ? 0 : rows / high * high;
  for (std::size_t p = 0; p < chunk && in_place < rows; p += cut.depth) {
    const T* const from = d.transpose_a ? a + p * d.lda + in_place : a + in_place * d.lda + p;
    pack_rows(rows - in_place, std::min(cut.depth, chunk - p), from, d.lda, d.transpose_a, scratch.a.data() + p * (tiles * high - in_place));
  }
  for (std::size_t j = 0; j < d.n; j += wide) {
    const std::size_t columns = std::min(wide, d.n - j), vectors = (columns + lane_count<T> - 1) / lane_count<T>;
    auto* const tile = vectors == 1 ? &gemm_tile<T, 1> : vectors == blocking::tile_vectors ? &gemm_tile<T, blocking::tile_vectors> : &gemm_tile<T, 2>;
    for (std::size_t p = 0; p < chunk; p += cut.depth) {
      const std::size_t depth = std::min(cut.depth, chunk - p);
      pack_panel(depth, columns, d.transpose_b ? b + j * d.ldb + p : b + p * d.ldb + j, d.ldb, d.transpose_b, scratch.b.data());
      const bool last = p + cut.depth >= chunk;  // what is packed after this panel
      const std::size_t next_p = last ? 0 : p + cut.depth, next_j = last ? j + wide : j;
      const std::size_t next_depth = std::min(cut.depth, chunk - next_p), next_columns = next_j < d.n ? std::min(wide, d.n - next_j) : 0;
      for (std::size_t t = 0; t < tiles; ++t) {
        if (next_columns) {
          if (d.transpose_b) prefetch_panel(next_columns, next_depth, b + next_j * d.ldb + next_p, d.ldb, t, tiles);
          else prefetch_panel(next_depth, next_columns, b + next_p * d.ldb + next_j, d.ldb, t, tiles);
        }
        const std::size_t r = t * high;
        const bool direct = r < in_place;
        tile(depth, direct ? a + r * d.lda + p : scratch.a.data() + p * (tiles * high - in_place) + (r - in_place) * depth,
             direct ? d.lda : 1, direct ? 1 : high, scratch.b.data(), c + r * d.ldc + j, d.ldc, std::min(high, rows - r), columns,
             T(d.alpha), p == 0 ? beta : T(1), p == 0 && bias ? bias + j : nullptr);
      }
    }
  }
}

}  // namespace detail

// C = alpha * op(A) * op(B) + beta * C, plus `bias` (of n elements) in every row where it is given.
template <class T>
void multiply(const ops::gemm& d, const T* a, const T* b, T* c, const T* bias = nullptr) {
  if (d.m == 0 || d.n == 0) return;
  if (d.k == 0 || d.alpha == 0) {
    for (std::size_t i = 0; i < d.m; ++i)
      for (std::size_t j = 0; j < d.n; ++j) c[i * d.ldc + j] = (d.beta == 0 ? T(0) : T(d.beta) * c[i * d.ldc + j]) + (bias ? bias[j] : T(0));
    return;
  }
  auto& scratch = detail::gemm_scratch<T>::of_this_thread();
  const detail::gemm_cut<T> cut(d);
  for (std::size_t i = 0; i < d.m; i += cut.rows)
    for (std::size_t p = 0; p < d.k; p += cut.chunk)
      detail::multiply_rows(d, cut, std::min(cut.rows, d.m - i), std::min(cut.chunk, d.k - p), d.transpose_a ? a + p * d.lda + i : a + i * d.lda + p,
                            d.transpose_b ? b + p : b + p * d.ldb, c + i * d.ldc, p == 0 ? T(d.beta) : T(1), p == 0 ? bias : nullptr, scratch);
}

}  // namespace entrain::nn::host
