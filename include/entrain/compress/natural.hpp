// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/core/config.hpp>

// Natural compression (Horvath, Ho, Horvath, Sahu, Canini, Richtarik, "Natural compression for distributed deep learning", 2019): every
// value becomes one of the two powers of two around it, by chance, so that the mean is right. Of an fp32 number that is its
// exponent, rounded by its fraction: one addition of random bits.
//
// Wire: n bytes of exponents and ceil(n / 8) of signs: 9 bits a value. Payload: gathered. Memory: none.
// Unbiased, E|C(x) - x|^2 <= |x|^2 / 8. Numbers below 2^-126 become 0 or 2^-126; doubles are taken as the nearest floats, and what is
// larger than 2^127 becomes that.

namespace entrain::compress {

struct natural {
  using slot_type = slot::compression;
  static constexpr std::string_view name = "natural";
  static constexpr payload_kind payload = payload_kind::gatherable;
  static constexpr bool unbiased = true;
  template <class T>
  using wire_type = std::uint8_t;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n + detail::packed_bytes(n, 1); }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }
  double contraction(const block&) const { return 1 - 1.0 / 8; }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<std::uint8_t> wire) const {
    const detail::random_words random(where);
    const T* in = values.data();
    std::uint8_t* out = wire.data();
    detail::for_each_chunk(values.size(), [=, n = values.size()](std::size_t first, std::size_t count) {
      const detail::random_words words = random;  // a copy, in registers: stores of bytes might change what a reference refers to
      const T* v = in + first;
      std::uint8_t* exponents = out + first;
      const std::uint32_t at = std::uint32_t(first), size = std::uint32_t(count);
      ENTRAIN_VECTORISE
      for (std::uint32_t i = 0; i < size; ++i) {
        const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(float(v[i])) & 0x7fffffffu;
        const std::uint32_t exponent = (magnitude + (words[at + i] >> 9)) >> 23;
        exponents[i] = std::uint8_t(exponent < 254 ? exponent : 254);
      }
      detail::pack_signs(v, count, out + n + first / 8);
    });
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    const std::uint8_t* exponents = wire.data();
    T* out = values.data();
    detail::for_each_sign(exponents + values.size(), values.size(), scale, T(-scale),
                          [=](std::size_t i, T signed_scale) { out[i] += signed_scale * T(std::bit_cast<float>(std::uint32_t(exponents[i]) << 23)); });
  }

  friend bool operator==(const natural&, const natural&) = default;
};

}  // namespace entrain::compress
