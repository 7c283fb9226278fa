// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/norms.hpp>

// Scaled sign (Karimireddy, Rebjock, Stich, Jaggi, "Error feedback fixes signSGD and other gradient compression schemes",
// ICML 2019): C(v) = |v|_1 / n * sign(v), with the sign of zero +. One bit a value.
//
// Wire: ceil(n / 8) + sizeof(T) bytes (4 for fp32); nothing for an empty block. Payload: gathered. Memory: none.
// Biased: |v - C(v)|^2 = (1 - delta) |v|^2 with delta = |v|_1^2 / (n |v|_2^2): at least 1 / n, 2 / pi for Gaussian values.
//
// Pitfalls: alone it need not converge, not even in one dimension: wrap it in error_feedback. One scale for the whole
// block: blocks of one kind of parameter each (layers, biases) do better than all of them flattened into one.

namespace entrain::compress {

struct sign {
  using slot_type = slot::compression;
  static constexpr std::string_view name = "sign";
  static constexpr payload_kind payload = payload_kind::gatherable;
  template <class T>
  using wire_type = std::uint8_t;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n == 0 ? 0 : sizeof(T) + detail::packed_bytes(n, 1); }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }
  double contraction(const block& b) const { return b.count == 0 ? 1 : 1 / double(b.count); }

  // The mean magnitude.
  template <class T>
  static T scale_of(std::span<const T> values) {
    if (values.empty()) return T(0);
    const double n = double(values.size()), sum = detail::sum_magnitudes(values.data(), values.size());
    if (sum <= std::numeric_limits<double>::max()) return T(sum / n);
    return T(detail::sum_of(values.data(), values.size(), [n](double v) { return std::abs(v) / n; }));  // doubles near their end
  }

  // sign(values) * scale, for those who settle the scale otherwise. wire: wire_count<T>(values.size()) bytes.
  template <class T>
  static void encode_scaled(std::span<const T> values, T scale, std::span<std::uint8_t> wire) {
    if (values.empty()) return;
    std::memcpy(wire.data(), &scale, sizeof(T));
    detail::pack_signs(values.data(), values.size(), wire.data() + sizeof(T));
  }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<std::uint8_t> wire) const {
    encode_scaled<T>(values, scale_of<T>(values), wire);
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    if (values.empty()) return;
    T magnitude;
    std::memcpy(&magnitude, wire.data(), sizeof(T));
    detail::add_signs(wire.data() + sizeof(T), values.size(), T(scale * magnitude), T(-scale * magnitude), values.data());
  }

  friend bool operator==(const sign&, const sign&) = default;
};

}  // namespace entrain::compress
