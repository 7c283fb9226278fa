// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include <entrain/compress/after.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/two_phase.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>

// The communication of 1-bit Adam (Tang et al., ICML 2021; optim/one_bit_adam.hpp): not gradients are compressed but the momentum, in
// which their noise has been averaged out. Rank i of p sends
//
//   z_i = beta1 * m / p + (1 - beta1) * g_i + what it left out of the step before
//
// as signs and one scale, |z|_2 / sqrt(n); the owner of a part adds up what arrives and its own residual and does the same; that is
// the new m, the same bits on every rank. During the first `freeze_after` steps gradients travel densely, and m follows them.
//
//   sum of z_i without residuals = new m + change of all workers' residuals + change of the owners' residuals
//
// Use one_bit_momentum_of(optimizer), which takes beta1 and freeze_after from optim::one_bit_adam. Blocks that are to travel exactly need
// exact_momentum_of(optimizer) (compress/exact_momentum.hpp), not compress::none. Batches must have the same number of
// samples in every step, since m is a sum over samples as gradients are.
//
// A sign is never zero. So a value whose gradient was zero in all dense steps (an embedding that no sample uses, for which the optimizer
// has no second moment either) stays zero from then on, counts in no scale and gathers no residual: it is told by its m of exactly 0.
//
// Payload: two phases. Wire: p parts and one part of ceil(n / p) values rounded up to 8, one bit each, and sizeof(T) bytes a part: about
// n / 4 + 8 p bytes. Memory: 2 n + 2 n / p values. Biased; the scale is the paper's, not the least-squares one of compress::sign.

namespace entrain::compress {

struct one_bit_momentum {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::two_phase;
  static constexpr bool has_momentum = true, delivers_momentum = true;
  template <class T>
  using wire_type = std::uint8_t;

  double beta1 = 0.9;
  std::uint64_t freeze_after = 100;

  template <class T>
  struct state {
    buffer<T> momentum, residual, part_residual, scratch;
    void visit(auto&& visitor) {
      visitor("same_momentum", momentum.span());
      visitor("residual", residual.span());
      visitor("part_residual", part_residual.span());
    }
  };

  template <class T>
  std::size_t part_count(std::size_t n) const { return sign().wire_count<T>(n); }
  template <class T>
  state<T> make_state(const block& b) const {
    const std::size_t part = b.count == 0 ? 0 : parts::part_values(b.count, b.ranks);
    return {buffer<T>(b.count), buffer<T>(b.count), buffer<T>(part), buffer<T>(part)};
  }

  template <class T>
  void encode_parts(state<T>& s, const context& where, std::span<T> values, std::size_t each, std::span<std::uint8_t> wire) const {
    const std::size_t n = values.size(), length = part_count<T>(each);
    const T old = T(beta1 / where.ranks), fresh = T(1 - beta1);
    const T *const m = s.momentum.data(), *const e = s.residual.data();
    T* const z = values.data();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) z[i] = old * m[i] + fresh * z[i] + e[i];
    const T scale = scale_and_leave<T>(values, used_of(s, where, 0, n), s.residual.span());
    for (std::size_t j = 0; j < where.ranks; ++j) {
      const std::size_t first = std::min(n, j * each), count = std::min(n, first + each) - first;
      sign::encode_scaled<T>(values.subspan(first, count), scale, wire.subspan(j * length, part_count<T>(count)));
    }
  }

  // At the owner of a part of n values.
  template <class T>
  void combine(state<T>& s, const context& where, std::span<const std::uint8_t> arrived, std::size_t n, std::span<std::uint8_t> out) const {
    const std::span<T> sum = s.scratch.span().first(n);
    std::copy_n(s.part_residual.begin(), n, sum.begin());
    for (std::size_t r = 0; r < where.ranks; ++r) sign().decode_add(where, arrived.subspan(r * out.size(), part_count<T>(n)), sum, T(1));
    const std::size_t first = where.rank * parts::part_values(s.momentum.size(), where.ranks);
    const T scale = scale_and_leave<T>(sum, used_of(s, where, first, n), s.part_residual.span().first(n));
    sign::encode_scaled<T>(sum, scale, out.first(part_count<T>(n)));
  }

  template <class T>
  void decode_add(const context& where, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    sign().decode_add(where, wire.first(part_count<T>(values.size())), values, scale);
  }

  // Hears the dense sums of the first steps, too.
  template <class T>
  void after_exchange(state<T>& s, const context& where, std::span<T> values) const {
    const bool dense = where.step < freeze_after;
    const T old = T(beta1), fresh = T(1 - beta1), smallest = std::numeric_limits<T>::min();
    T *const m = s.momentum.data(), *const v = values.data();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool used = m[i] != T(0) || (v[i] != T(0) && (dense || freeze_after == 0));
      const T next = dense ? old * m[i] + fresh * v[i] : v[i];
      m[i] = !used ? T(0) : next != T(0) ? next : smallest;  // what has once had a gradient never becomes 0 again
      if (!dense) v[i] = used ? next : T(0);
    }
  }

  std::string describe() const { return describe_members("one_bit_momentum", "beta1", beta1, "freeze_after", freeze_after); }
  friend bool operator==(const one_bit_momentum&, const one_bit_momentum&) = default;

 private:
  using parts = two_phase<sign>;

  // The m of n values by which those without a gradient are told; nothing before the momentum is frozen in.
  template <class T>
  std::span<const T> used_of(const state<T>& s, const context& where, std::size_t first, std::size_t n) const {
    return freeze_after == 0 || where.step < freeze_after ? std::span<const T>() : s.momentum.span().subspan(std::min(first, s.momentum.size()), n);
  }

  // The scale of z's values in use, z without the others, and what signs times this scale leave out of z.
  template <class T>
  static T scale_and_leave(std::span<T> all, std::span<const T> used, std::span<T> left) {
    const std::size_t n = all.size();
    T *const z = all.data(), *const rest = left.data();
    const T* const u = used.data();
    std::size_t count = n;
    if (!used.empty()) {
      std::ptrdiff_t without = 0;
      for (std::size_t i = 0; i < n; ++i) without += u[i] == T(0), z[i] = u[i] == T(0) ? T(0) : z[i];
      count -= std::size_t(without);
    }
    const T scale = count == 0 ? T(0) : T(detail::euclidean_norm(z, n) / std::sqrt(double(count)));
    const auto of = [scale](T v) { return v - (v < T(0) ? -scale : scale); };
    if (used.empty())
      for (std::size_t i = 0; i < n; ++i) rest[i] = of(z[i]);
    else
      for (std::size_t i = 0; i < n; ++i) rest[i] = u[i] == T(0) ? T(0) : of(z[i]);
    return scale;
  }
};

// What goes with an optimizer that freezes its second moment, such as optim::one_bit_adam.
template <class Optimizer>
auto one_bit_momentum_of(const Optimizer& o) {
  return after{o.freeze_after, one_bit_momentum{.beta1 = o.beta1, .freeze_after = o.freeze_after}};
}

}  // namespace entrain::compress
