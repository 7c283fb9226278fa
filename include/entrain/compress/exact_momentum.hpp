// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>

// For the blocks of optim::one_bit_adam that are not worth a bit a value: vectors, small blocks. Their gradients travel as they are,
// and what the optimizer gets after `freeze_after` steps is what it then takes from every block, the momentum, here exactly:
//
//   m = beta1 * m + (1 - beta1) * sum over ranks of g
//
//   compress::per_layer{compress::rule{compress::one_bit_momentum_of(optimizer), {.at_least = 4096}}, compress::exact_momentum_of(optimizer)}
//
// compress::none in its place would deliver gradients that the optimizer takes for momentum; the trainer refuses it. Batches of equal
// size in every step, as for compress::one_bit_momentum. Payload: summable. Wire: n * sizeof(T) bytes. Memory: a value a parameter.

namespace entrain::compress {

struct exact_momentum {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool lossless = true, unbiased = true, has_momentum = true, delivers_momentum = true;
  template <class T>
  using wire_type = T;

  double beta1 = 0.9;
  std::uint64_t freeze_after = 100;

  template <class T>
  struct state {
    buffer<T> momentum;
    void visit(auto&& visitor) { visitor("same_momentum", momentum.span()); }
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  state<T> make_state(std::size_t n) const { return {buffer<T>(n)}; }

  template <class T>
  void encode(state<T>&, const context&, std::span<T> values, std::span<T> wire) const { std::copy(values.begin(), values.end(), wire.begin()); }

  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += scale * wire[i];
  }

  template <class T>
  void after_exchange(state<T>& s, const context& where, std::span<T> values) const {
    const T old = T(beta1), fresh = T(1 - beta1);
    T *const m = s.momentum.data(), *const v = values.data();
    const std::size_t n = values.size();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) m[i] = old * m[i] + fresh * v[i];
    if (where.step >= freeze_after) std::copy_n(m, n, v);
  }

  std::string describe() const { return describe_members("exact_momentum", "beta1", beta1, "freeze_after", freeze_after); }
  friend bool operator==(const exact_momentum&, const exact_momentum&) = default;
};

// What goes with an optimizer that freezes its second moment, such as optim::one_bit_adam.
template <class Optimizer>
exact_momentum exact_momentum_of(const Optimizer& o) {
  return {.beta1 = o.beta1, .freeze_after = o.freeze_after};
}

}  // namespace entrain::compress
