// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include <entrain/compress/concepts.hpp>

// No compression: gradients travel as they are. The exchange recognises `identity` and sends straight from the gradient
// arena; encode and decode_add exist for wrappers and for the laws. Wire: n * sizeof(T) bytes.

namespace entrain::compress {

struct none {
  using slot_type = slot::compression;
  static constexpr std::string_view name = "none";
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool identity = true, positional = true, lossless = true, unbiased = true;
  template <class T>
  using wire_type = T;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<T> wire) const { std::copy(values.begin(), values.end(), wire.begin()); }

  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += scale * wire[i];
  }
  friend bool operator==(const none&, const none&) = default;
};

}  // namespace entrain::compress
