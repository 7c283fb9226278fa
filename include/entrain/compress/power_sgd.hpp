// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>

// PowerSGD (Vogels, Karimireddy, Jaggi, "PowerSGD: practical low-rank gradient compression for distributed optimization", NeurIPS
// 2019): the gradient of a matrix travels as two thin factors, by one step of power iteration a training step. For M (a x b), the
// gradient plus this rank's residual, and Q (b x r), the same on all ranks:
//
//   P = sum over ranks of M Q;  P <- orthonormal columns of P;  Q = sum over ranks of M^T P;  decoded sum = P Q^T;  residual = M - P Q^T / p
//
// Q is kept for the next step (warm start), so that on a matrix that does not change the error falls to that of the best rank-r
// matrix, by (sigma_{r+1} / sigma_r)^2 a step. The factor P may be summed since only its span counts.
//
// Payload: two rounds, both summed. Wire: sizeof(T) r (a + b) bytes; blocks that this would shrink less than minimum_gain times, and
// vectors, travel whole in the first round, exactly. A block is seen as (first dimension) x (the others).
// Biased; the residual is inside. Memory: a b + b r + a r values, columns of factors one behind another. Cost: 4 r flops a value and rank, and r^2 (a) for orthonormalising.
//
// Pitfalls: the first steps' gradients turn too fast for the warm start: compress::after{100, power_sgd{}}. Momentum goes after the
// decompression, where the optimizer has it.

namespace entrain::compress {

struct power_sgd {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::rounds;
  static constexpr int rounds = 2;
  template <class T>
  using wire_type = T;

  int rank = 4;
  double minimum_gain = 2;

  template <class T>
  struct state {
    std::size_t rows = 0, columns = 0, rank = 0;  // rank 0: travels whole
    buffer<T> residual, q, p;
    void visit(auto&& visitor) {
      if (rank == 0) return;
      visitor("residual", residual.span());
      visitor("same_q", q.span());
    }
  };

  // Columns of the factors for a block, 0 where factors would not pay.
  std::size_t rank_for(const block& b) const {
    const std::size_t r = std::min({std::size_t(std::max(rank, 1)), b.rows, b.columns});
    return b.matrix() && double(r * (b.rows + b.columns)) * minimum_gain <= double(b.count) ? r : 0;
  }

  template <class T>
  std::size_t round_count(const block& b, int round) const {
    const std::size_t r = rank_for(b);
    if (r == 0) return round == 0 ? b.count : 0;
    return r * (round == 0 ? b.rows : b.columns);
  }

  template <class T>
  state<T> make_state(const block& b) const {
    state<T> s;
    if (b.count == 0 || rank_for(b) == 0) return s;
    s.rows = b.rows, s.columns = b.columns, s.rank = rank_for(b);
    s.residual = buffer<T>(b.count), s.q = buffer<T>(s.columns * s.rank), s.p = buffer<T>(s.rows * s.rank);
    for (std::size_t k = 0; k < s.rank; ++k) seed(s, {.block = b.index}, k);
    return s;
  }

  template <class T>
  void round(state<T>& s, const context& where, int r, std::span<T> values, std::span<const T> summed, std::span<T> wire) const {
    if (s.rank == 0) {
      if (r == 0) std::copy(values.begin(), values.end(), wire.begin());
      else std::copy(summed.begin(), summed.end(), values.begin());
    } else if (r == 0) {
      for (std::size_t k = 0; k < s.rank; ++k) {
        const auto q = s.q.span().subspan(k * s.columns, s.columns);
        if (std::all_of(q.begin(), q.end(), [](T v) { return v == T(0); })) seed(s, where, k);  // a direction that was not needed
      }
      for (std::size_t i = 0; i < s.rows; ++i) {  // row by row, so that each stays in the cache
        T* const row = values.data() + i * s.columns;
        add(row, s.residual.data() + i * s.columns, T(1), s.columns);
        in_groups(s.rank, [&]<std::size_t K>(std::size_t k) { dots<K>(row, s.q.data() + k * s.columns, s.columns, wire.data() + k * s.rows + i, s.rows); });
      }
    } else {
      std::copy(summed.begin(), summed.end(), s.p.begin());
      orthonormalise(s);
      std::fill(wire.begin(), wire.end(), T(0));
      in_groups(s.rows, [&]<std::size_t K>(std::size_t i) {
        for (std::size_t k = 0; k < s.rank; ++k) add_all<K>(wire.data() + k * s.columns, values.data() + i * s.columns, s.p.data() + k * s.rows + i, 1, s.columns);
      });
    }
  }

  template <class T>
  void finish(state<T>& s, const context& where, std::span<const T> summed, std::span<T> values) const {
    if (s.rank == 0) return;  // the values hold the sum since the second round
    std::copy(summed.begin(), summed.end(), s.q.begin());
    for (std::size_t i = 0; i < s.rows; ++i) {  // row by row, so that each stays in the cache
      T *const row = values.data() + i * s.columns, *const left = s.residual.data() + i * s.columns;
      std::copy_n(row, s.columns, left);
      std::fill_n(row, s.columns, T(0));
      in_groups(s.rank, [&]<std::size_t K>(std::size_t k) { add_all<K>(row, s.q.data() + k * s.columns, s.p.data() + k * s.rows + i, s.rows, s.columns); });
      add(left, row, T(-1) / T(where.ranks), s.columns);
    }
    // Only the span of Q matters to the next step: lengths of one keep its products in range.
    for (std::size_t k = 0; k < s.rank; ++k) {
      const std::span<T> column = s.q.span().subspan(k * s.columns, s.columns);
      double squares = 0;
      for (const T v : column) squares += double(v) * double(v);
      const double length = std::sqrt(squares);
      if (squares > 0)
        for (T& v : column) v = T(double(v) / length);
    }
  }

  std::string describe() const { return describe_members("power_sgd", "rank", rank, "minimum_gain", minimum_gain); }
  friend bool operator==(const power_sgd&, const power_sgd&) = default;

 private:
  // Column k of Q drawn anew: the same on every rank.
  template <class T>
  static void seed(state<T>& s, const context& where, std::size_t k) {
    const random_stream random(0x9d5, purpose::compress, where.block, where.step);
    for (std::size_t j = 0; j < s.columns; ++j) s.q[k * s.columns + j] = T(random.normal(k * s.columns + j));
  }

  // Calls f.operator()<K>(first) for groups of K = 4 and then 1: four rows or columns at once are read and kept in registers together.
  template <class F>
  static void in_groups(std::size_t n, F&& f) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) f.template operator()<4>(i);
    for (; i < n; ++i) f.template operator()<1>(i);
  }

  // out[k stride] = x y_k for K vectors y_k, one behind another.
  template <std::size_t K, class T>
  static void dots(const T* x, const T* y, std::size_t n, T* out, std::size_t stride) {
    constexpr std::size_t lanes = 32;  // sums of their own, so that the loop vectorises without leave to reorder
    T partial[K][lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes)
      for (std::size_t k = 0; k < K; ++k)
        for (std::size_t j = 0; j < lanes; ++j) partial[k][j] += x[i + j] * y[k * n + i + j];
    for (std::size_t k = 0; k < K; ++k) {
      for (std::size_t j = 0; i + j < n; ++j) partial[k][j] += x[i + j] * y[k * n + i + j];
      for (std::size_t half = lanes / 2; half > 0; half /= 2)
        for (std::size_t j = 0; j < half; ++j) partial[k][j] += partial[k][j + half];
      out[k * stride] = partial[k][0];
    }
  }
  // y += a_k x_k, one after another, for K vectors x_k one behind another and factors a_k `stride` apart.
  template <std::size_t K, class T>
  static void add_all(T* y, const T* x, const T* factors, std::size_t stride, std::size_t n) {
    T a[K];
    for (std::size_t k = 0; k < K; ++k) a[k] = factors[k * stride];
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) {
      T sum = y[i];
      for (std::size_t k = 0; k < K; ++k) sum += a[k] * x[k * n + i];
      y[i] = sum;
    }
  }
  template <class T>
  static void add(T* y, const T* x, T a, std::size_t n) {
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) y[i] += a * x[i];
  }

  // Modified Gram-Schmidt, each column twice, in double. A column that depends on the others becomes zero.
  template <class T>
  static void orthonormalise(state<T>& s) {
    const auto inner = [&](std::size_t a, std::size_t b) {
      double sum = 0;
      for (std::size_t i = 0; i < s.rows; ++i) sum += double(s.p[a * s.rows + i]) * double(s.p[b * s.rows + i]);
      return sum;
    };
    constexpr double negligible = sizeof(T) == 4 ? 1e-6 : 1e-13;
    for (std::size_t k = 0; k < s.rank; ++k) {
      const double before = std::sqrt(inner(k, k));
      for (int pass = 0; pass < 2; ++pass)
        for (std::size_t l = 0; l < k; ++l) {
          const double along = inner(k, l);
          for (std::size_t i = 0; i < s.rows; ++i) s.p[k * s.rows + i] = T(double(s.p[k * s.rows + i]) - along * double(s.p[l * s.rows + i]));
        }
      const double left = std::sqrt(inner(k, k));
      const double factor = left > negligible * before ? 1 / left : 0;
      for (std::size_t i = 0; i < s.rows; ++i) s.p[k * s.rows + i] = T(double(s.p[k * s.rows + i]) * factor);
    }
  }
};

}  // namespace entrain::compress
