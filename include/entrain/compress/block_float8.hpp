// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/small_float.hpp>

// Eight bits a value with a scale for each `block` of values: the largest of them becomes the largest number of the format, so nothing
// saturates and small gradients keep their digits (block scaling as in the OCP Microscaling formats, 2023, and the 128-value
// scales of DeepSeek-V3, 2024; here the scale is a full number).
//
// Wire of a block: the scale, sizeof(T) bytes, and a byte a value. Payload: gathered. Memory: none.
// Biased by rounding to nearest: |error| of a value at most 2^-4 of it with float8_e4m3 (2^-3 with float8_e5m2), or a half of the
// format's least step times the scale where that is more.

namespace entrain::compress {

template <class Format = float8_e4m3>
struct block_float8 {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::gatherable;
  template <class T>
  using wire_type = std::uint8_t;

  std::size_t block = 128;  // values

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n + (n + block - 1) / block * sizeof(T); }
  template <class T>
  no_state make_state(std::size_t) const {
    if (block == 0) throw usage_error("compress::block_float8", "blocks without values", "a block of 1 or more", "0");
    return {};
  }
  // Of the rounding, and of the least step of each value of a block of which one is the largest.
  double contraction(const compress::block&) const {
    const double relative = std::is_same_v<Format, float8_e4m3> ? 1.0 / 16 : 1.0 / 8, least = (std::is_same_v<Format, float8_e4m3> ? 0x1p-10 : 0x1p-17) / double(largest_of<Format>);
    return 1 - relative * relative - double(block) * least * least - 1e-5;
  }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<std::uint8_t> wire) const {
    std::uint8_t* out = wire.data();
    for (std::size_t first = 0; first < values.size(); first += block) {
      const std::size_t n = std::min(block, values.size() - first);
      const T* in = values.data() + first;
      const T scale = detail::largest_magnitude(in, n) / T(largest_of<Format>);
      std::memcpy(out, &scale, sizeof(T)), out += sizeof(T);
      const T inverse = scale > T(0) ? T(1) / scale : T(0);
      const bool fits = std::isfinite(inverse);  // not of the least denormals
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) out[i] = Format(fits ? float(in[i] * inverse) : 0.0f).bits;
      out += n;
    }
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T factor) const {
    const std::uint8_t* in = wire.data();
    for (std::size_t first = 0; first < values.size(); first += block) {
      const std::size_t n = std::min(block, values.size() - first);
      T* out = values.data() + first;
      T scale;
      std::memcpy(&scale, in, sizeof(T)), in += sizeof(T);
      const T times = scale * factor;
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) {
        Format x;
        x.bits = in[i];
        out[i] += times * T(float(x));
      }
      in += n;
    }
  }

  std::string describe() const { return describe_members("block_float8<" + std::string(name_of(dtype_of<Format>::value)) + ">", "block", block); }
  friend bool operator==(const block_float8&, const block_float8&) = default;
};

}  // namespace entrain::compress
