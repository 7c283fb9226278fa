// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// Momentum before compression (Lin, Han, Mao, Wang, Dally, "Deep gradient compression", ICLR 2018, section 3.1): each rank
// accumulates its velocity, and keeps what was not sent of it.
//
//   u = momentum * u + g;   v = v + u (nesterov: v + g + momentum * u);   send C(v);   v = v - sent;   u = 0 where sent (mask)
//
// With the momentum in the optimizer a value that is sent late would arrive without the velocity that it should have given meanwhile.
// Factor masking stops old velocity from pushing on in a direction whose gradient has just been delivered. It applies only where something
// was left out: with everything sent this is momentum SGD, bit for bit, as with compress::none inside. Where selected values travel in
// another form than as (index, value) pairs (random_k, chain), those count as sent that are not decoded as 0. A quantiser sends every
// value, so that there is nothing to mask: to ask for it is a usage_error.
//
// Payload, wire, bias: the inner compressor's. Memory: u and v, two values a parameter; u alone around a lossless compressor.
// Cost: one pass over g, u and v, and the inner compressor's.
//
// Pitfalls: the optimizer must have no momentum of its own (`has_momentum` tells the trainer). Weight decay of the optimizer does
// not enter u. u adds sums over samples: steps with more samples weigh more. error_feedback has no place inside or outside, since v is
// its residual. On another number of ranks u and v keep their sums.

namespace entrain::compress {

struct momentum_options {
  double momentum = 0.9;
  bool nesterov = false;
  std::optional<bool> mask = {};  // unset: where the compressor selects values
  friend bool operator==(const momentum_options&, const momentum_options&) = default;
};

template <class Inner>
struct momentum_correction {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = Inner::payload;
  static constexpr bool positional = is_positional<Inner>, variable = is_variable<Inner>, ascending = is_ascending<Inner>;
  static constexpr bool has_momentum = true, keeps_residual = true;
  template <class T>
  using wire_type = wire_of<Inner, T>;

  static_assert(Inner::payload != payload_kind::two_phase && Inner::payload != payload_kind::rounds,
                "this compressor keeps its own residual: use it without compress::momentum_correction, and give the optimizer the momentum");
  static_assert(!is_direction<Inner>, "a direction has no length that compress::momentum_correction could subtract from the velocity: use compress::sign in its place");
  static_assert(!compress::keeps_residual<Inner>,
                "compress::momentum_correction keeps what was not sent itself: write compress::momentum_correction{compress::top_k{}} without compress::error_feedback inside");
  static_assert(!requires { requires !Inner::linear_decode; },
                "what a count sketch leaves out is only known after the sum: compress::momentum_correction cannot keep it, use compress::sketched_sgd without it");

  Inner inner;
  momentum_options options;

  constexpr momentum_correction() requires std::default_initializable<Inner> : inner{} {}
  explicit constexpr momentum_correction(Inner compressor, momentum_options o = {}) : inner(compressor), options(o) {}

  template <class T>
  struct state {
    buffer<T> velocity, unsent;
    state_of<Inner, T> inner;
    void visit(auto&& visitor) {
      visitor("velocity", velocity.span());
      if constexpr (!is_lossless<Inner>) visitor("unsent", unsent.span());
      inner.visit(visitor);
    }
  };

  template <class T>
  std::size_t wire_count(const block& b) const { return inner.template wire_count<T>(b); }
  bool masks() const { return selects<Inner> && options.mask.value_or(true); }
  template <class T>
  state<T> make_state(const block& b) const {
    if constexpr (!selects<Inner> && !is_lossless<Inner>)
      if (options.mask.value_or(false))
        throw usage_error("compress::momentum_correction", "a mask is asked for, and this compressor leaves no value out that would be told from those it sends",
                          "a sparsifier such as compress::top_k, or no mask", entrain::describe(inner));
    return {buffer<T>(b.count), buffer<T>(is_lossless<Inner> ? 0 : b.count), inner.template make_state<T>(b)};
  }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const {
    T *const x = values.data(), *const u = s.velocity.data(), *const v = s.unsent.data();
    const T mu = T(options.momentum), past = options.nesterov ? mu : T(1), present = options.nesterov ? T(1) : T(0);
    const std::size_t n = values.size();
    if constexpr (is_lossless<Inner>) {
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) {
        const T g = x[i];
        u[i] = mu * u[i] + g;
        x[i] = present * g + past * u[i];
      }
      return encoded(inner, s.inner, where, values, wire);
    } else {
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) {
        const T g = x[i];
        u[i] = mu * u[i] + g;
        x[i] = v[i] += present * g + past * u[i];
      }
      const std::size_t filled = encoded(inner, s.inner, where, values, wire);
      const std::span<const wire_type<T>> sent = wire.first(filled);
      if constexpr (selects<Inner> && payload != payload_kind::sparse)
        if (masks()) {
          std::fill(values.begin(), values.end(), T(0));
          inner.decode_add(where, sent, values, T(1));
          mask_decoded(x, u, v, n);
          return filled;
        }
      inner.decode_add(where, sent, s.unsent.span(), T(-1));
      if constexpr (payload == payload_kind::sparse)
        if (masks() && filled < n)
          for (const auto& entry : sent) u[entry.index] = T(0);
      return filled;
    }
  }

  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    inner.decode_add(where, wire, values, scale);
  }

  std::string describe() const {
    return "momentum_correction{" + entrain::describe(inner) + ", " +
           describe_members("", "momentum", options.momentum, "nesterov", options.nesterov, "mask", masks()) + "}";
  }
  friend bool operator==(const momentum_correction&, const momentum_correction&) = default;

 private:
  // Takes what was decoded, x, from v; u ends where that is anything, if elsewhere something was left.
  template <class T>
  static void mask_decoded(const T* x, T* u, T* v, std::size_t n) {
    std::size_t left_out = 0;
    for (std::size_t i = 0; i < n; ++i) left_out += x[i] == T(0) && v[i] != T(0), v[i] -= x[i];
    if (left_out == 0) return;
    for (std::size_t i = 0; i < n; ++i) u[i] = x[i] == T(0) ? u[i] : T(0);
  }
};

}  // namespace entrain::compress
