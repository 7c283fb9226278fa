// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>

// An unbiased compressor made a contraction, so that error feedback may go around it: with E|C(x) - x|^2 <= w |x|^2 what is decoded is
// C(x) / (1 + w), and then E|C(x)/(1+w) - x|^2 <= (1 - 1/(1+w)) |x|^2 (Karimireddy et al., ICML 2019; Beznosikov et al., 2020).
//
//   compress::error_feedback{compress::scaled{compress::qsgd{.levels = 4}}}
//
// w is what the inner compressor states by contraction(block) = 1 - w. Wire and memory: the inner's.

namespace entrain::compress {

template <class Inner>
struct scaled {
  using slot_type = slot::compression;
  static_assert(is_unbiased<Inner> && requires(const Inner& c, const block& b) { c.contraction(b); },
                "compress::scaled shrinks an unbiased compressor by the noise that it states: it needs 'unbiased' and 'double contraction(const block&) const'");
  static constexpr payload_kind payload = Inner::payload;
  static constexpr bool variable = is_variable<Inner>, ascending = is_ascending<Inner>;
  template <class T>
  using wire_type = wire_of<Inner, T>;

  Inner inner;

  explicit constexpr scaled(Inner c = {}) : inner(c) {}

  double factor(const block& b) const { return 1 / (2 - inner.contraction(b)); }  // 1 / (1 + w)
  double contraction(const block& b) const { return factor(b); }

  template <class T>
  std::size_t wire_count(const block& b) const { return inner.template wire_count<T>(b); }
  template <class T>
  auto make_state(const block& b) const { return inner.template make_state<T>(b); }
  template <class T>
  std::size_t encode(state_of<Inner, T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const {
    return encoded(inner, s, where, values, wire);
  }
  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    inner.decode_add(where, wire, values, T(double(scale) * factor(values.size())));
  }

  std::string describe() const { return "scaled{" + entrain::describe(inner) + "}"; }
  friend bool operator==(const scaled&, const scaled&) = default;
};

}  // namespace entrain::compress
