// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <type_traits>

#include <entrain/core/config.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/half_instructions.hpp>

// Gradients travel in a narrower number format: cast<bfloat16>, cast<float16>, cast<float8_e4m3>, cast<float8_e5m2>. Rounds to
// nearest; float16 and the 8-bit formats saturate at their largest number (core/small_float.hpp), so scale what may be larger
// (compress/block_float8.hpp does). Wire: n * sizeof(Wire) bytes.
//
// 16 bits: summable, positional; sums are taken in the wire's format, so p ranks add about log2(p) further roundings. 8 bits: gathered,
// since sums of them would lose all but the largest summand.

namespace entrain::compress {

template <class Wire>
struct cast {
  using slot_type = slot::compression;
  static constexpr bool positional = sizeof(Wire) >= 2;
  static constexpr payload_kind payload = positional ? payload_kind::summable : payload_kind::gatherable;
  template <class T>
  using wire_type = Wire;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<Wire> wire) const {
    const T* in = values.data();
    Wire* out = wire.data();
    const std::size_t n = values.size();
    if constexpr (std::is_same_v<Wire, float16> && std::is_same_v<T, float>)
      if (detail::to_halves(in, n, out)) return;
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) out[i] = Wire(float(in[i]));
  }

  template <class T>
  void decode_add(const context&, std::span<const Wire> wire, std::span<T> values, T scale) const {
    const Wire* in = wire.data();
    T* out = values.data();
    const std::size_t n = values.size();
    if constexpr (std::is_same_v<Wire, float16> && std::is_same_v<T, float>)
      if (detail::add_halves(in, n, scale, out)) return;
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) out[i] += scale * T(float(in[i]));
  }

  std::string describe() const { return "cast<" + std::string(name_of(dtype_of<Wire>::value)) + ">"; }
  friend bool operator==(const cast&, const cast&) = default;
};

}  // namespace entrain::compress
