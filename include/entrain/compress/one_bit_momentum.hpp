// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/after.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/two_phase.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>

// The communication of 1-bit Adam (Tang et al., ICML 2021; optim/one_bit_adam.hpp): not gradients are compressed but the momentum, in
// which their noise has been averaged out. Rank i of p sends
//
//   z_i = beta1 * m / p + (1 - beta1) * g_i
//
// by a two-phase sum of scaled signs with residuals on both sides (compress/two_phase.hpp, scale |z|_2 / sqrt(n)), and what arrives is
// the new m, the same bits on every rank. During the first `freeze_after` steps gradients travel densely, and m follows them.
//
// Use one_bit_momentum_of(optimizer), which takes beta1 and freeze_after from optim::one_bit_adam. Batches must have the same number of
// samples in every step, since m is a sum over samples as gradients are.
// Wire: two_phase{sign}'s, about n / 4 bytes. Memory: 2 n + n / p values.

namespace entrain::compress {

namespace detail {
struct root_mean_square_sign : sign {
  template <class T>
  static T scale_of(std::span<const T> v) { return v.empty() ? T(0) : T(euclidean_norm(v.data(), v.size()) / std::sqrt(double(v.size()))); }
};
}  // namespace detail

struct one_bit_momentum {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::two_phase;
  static constexpr bool has_momentum = true;
  template <class T>
  using wire_type = std::uint8_t;
  using quantiser = two_phase<detail::root_mean_square_sign>;

  double beta1 = 0.9;
  std::uint64_t freeze_after = 100;

  template <class T>
  struct state {
    buffer<T> momentum;
    state_of<quantiser, T> inner;
    void visit(auto&& visitor) {
      visitor("same_momentum", momentum.span());
      inner.visit(visitor);
    }
  };

  template <class T>
  std::size_t part_count(std::size_t n) const { return quantiser().template part_count<T>(n); }
  template <class T>
  state<T> make_state(const block& b) const { return {buffer<T>(b.count), quantiser().template make_state<T>(b)}; }

  template <class T>
  void encode_parts(state<T>& s, const context& where, std::span<T> values, std::size_t each, std::span<std::uint8_t> wire) const {
    const T old = T(beta1 / where.ranks), fresh = T(1 - beta1);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = old * s.momentum[i] + fresh * values[i];
    quantiser().encode_parts(s.inner, where, values, each, wire);
  }
  template <class T>
  void combine(state<T>& s, const context& where, std::span<const std::uint8_t> arrived, std::size_t n, std::span<std::uint8_t> out) const {
    quantiser().template combine<T>(s.inner, where, arrived, n, out);
  }
  template <class T>
  void decode_add(const context& where, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const { quantiser().decode_add(where, wire, values, scale); }

  // Hears the dense sums of the first steps, too.
  template <class T>
  void after_exchange(state<T>& s, const context& where, std::span<T> values) const {
    const bool dense = where.step < freeze_after;
    const T old = T(dense ? beta1 : 0), fresh = T(dense ? 1 - beta1 : 1);
    for (std::size_t i = 0; i < values.size(); ++i) s.momentum[i] = old * s.momentum[i] + fresh * values[i];
  }

  std::string describe() const { return describe_members("one_bit_momentum", "beta1", beta1, "freeze_after", freeze_after); }
  friend bool operator==(const one_bit_momentum&, const one_bit_momentum&) = default;
};

// What goes with an optimizer that freezes its second moment, such as optim::one_bit_adam.
template <class Optimizer>
auto one_bit_momentum_of(const Optimizer& o) {
  return after{o.freeze_after, one_bit_momentum{.beta1 = o.beta1, .freeze_after = o.freeze_after}};
}

}  // namespace entrain::compress
