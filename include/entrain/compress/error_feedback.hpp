// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>

// Error feedback (Seide et al. 2014; Stich et al., NeurIPS 2018; Karimireddy et al., ICML 2019): what a compressor leaves
// out of one step is kept and added to the next, so that nothing is lost, only late. The identity
//
//   sum of what was sent + residual = sum of the gradients
//
// holds up to rounding. Memory: one value a parameter. The residual is in the gradient's own unit: the sum over this
// rank's samples.

namespace entrain::compress {

template <class Inner>
struct error_feedback {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = Inner::payload;
  static constexpr bool positional = requires { requires Inner::positional; };
  template <class T>
  using wire_type = typename Inner::template wire_type<T>;

  Inner inner;

  explicit constexpr error_feedback(Inner compressor = {}) : inner(compressor) {}

  template <class T>
  struct state {
    buffer<T> residual;
    state_of<Inner, T> inner;
    void visit(auto&& visitor) {
      visitor("residual", residual.span());
      inner.visit(visitor);
    }
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return inner.template wire_count<T>(n); }
  template <class T>
  state<T> make_state(std::size_t n) const { return {buffer<T>(n), inner.template make_state<T>(n)}; }

  template <class T>
  void encode(state<T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const {
    T* e = s.residual.data();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += e[i];
    std::copy(values.begin(), values.end(), e);
    inner.encode(s.inner, where, values, wire);
    inner.decode_add(where, std::span<const wire_type<T>>(wire), s.residual.span(), T(-1));
  }

  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    inner.decode_add(where, wire, values, scale);
  }

  std::string describe() const { return "error_feedback{" + entrain::describe(inner) + "}"; }
  friend bool operator==(const error_feedback&, const error_feedback&) = default;
};

}  // namespace entrain::compress
