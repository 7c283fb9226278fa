// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include <entrain/core/config.hpp>
#include <entrain/compress/concepts.hpp>

// Gradients travel in a narrower number format: cast<bfloat16> halves fp32's bytes. Rounds to nearest; sums are taken in
// the wire's format, so p ranks add about log2(p) further roundings. Wire: n * sizeof(Wire) bytes.

namespace entrain::compress {

template <class Wire>
struct cast {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool positional = true;
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
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) out[i] = Wire(float(in[i]));
  }

  template <class T>
  void decode_add(const context&, std::span<const Wire> wire, std::span<T> values, T scale) const {
    const Wire* in = wire.data();
    T* out = values.data();
    const std::size_t n = values.size();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) out[i] += scale * T(float(in[i]));
  }

  std::string describe() const { return "cast<" + std::string(name_of(dtype_of<Wire>::value)) + ">"; }
  friend bool operator==(const cast&, const cast&) = default;
};

}  // namespace entrain::compress
