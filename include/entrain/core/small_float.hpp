// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>

// Number formats narrower than fp32 besides bfloat16 (core/dtype.hpp): IEEE binary16, and the two 8-bit formats of Micikevicius et
// al., "FP8 formats for deep learning" (2022). Conversion from float rounds to nearest, ties to even, and saturates: what is too large
// becomes the largest finite number, since an infinity in a sum of gradients spoils all that it meets. Infinities read from
// elsewhere are kept when converted to float. Every step is a select, not a branch, so that loops vectorise.
//
//   float16      5 exponent bits, 10 fraction bits, largest 65504, least 2^-24
//   binary16     the same format as processors compute in it: what is too large becomes infinite (dynamic loss scaling looks for that)
//   float8_e4m3  4 and 3, largest 448, least 2^-9, no infinity
//   float8_e5m2  5 and 2, largest 57344, least 2^-16

namespace entrain {

namespace detail {

template <int Exponent, int Fraction, std::uint32_t Largest, std::uint32_t NotANumber>
struct small_format {
  using storage = std::conditional_t<(1 + Exponent + Fraction > 8), std::uint16_t, std::uint8_t>;
  static constexpr int bias = (1 << (Exponent - 1)) - 1, shift = 23 - Fraction, sign_shift = 31 - Exponent - Fraction;
  static constexpr std::uint32_t magnitudes = (1u << (Exponent + Fraction)) - 1;

  // A select by masks: for ?: compilers move the arithmetic of one side behind a branch, and the loop stays scalar (ten times slower).
  ENTRAIN_HOST_DEVICE static constexpr std::uint32_t either(bool first, std::uint32_t a, std::uint32_t b) {
    return b ^ ((a ^ b) & (0u - std::uint32_t(first)));
  }

  // 2^exponent.
  ENTRAIN_HOST_DEVICE static constexpr float power(int exponent) { return std::bit_cast<float>(std::uint32_t(127 + exponent) << 23); }

  ENTRAIN_HOST_DEVICE static constexpr storage from(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = word & 0x7fffffffu, sign = (word >> sign_shift) & ~magnitudes;
    // Below the normal numbers: adding a number whose last place is the least step lets the processor round.
    constexpr float step = power(24 - bias - Fraction);
    const std::uint32_t tiny = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + step) - std::bit_cast<std::uint32_t>(step);
    // Of what is below, `normal` is the least normal number's code, so that the smaller of both is right everywhere.
    constexpr std::uint32_t least = std::uint32_t(128 - bias) << 23;
    const std::uint32_t above = magnitude > least ? magnitude : least, odd = (above >> shift) & 1u;
    const std::uint32_t normal = (above - (std::uint32_t(127 - bias) << 23) + ((1u << (shift - 1)) - 1) + odd) >> shift;
    std::uint32_t code = tiny < normal ? tiny : normal;
    code = code > Largest ? Largest : code;
    code = magnitude > 0x7f800000u ? NotANumber : code;
    return storage(sign | code);
  }

  ENTRAIN_HOST_DEVICE static constexpr float to(storage bits) {
    const std::uint32_t wide = std::uint32_t(std::int32_t(std::make_signed_t<storage>(bits)));  // the sign is at the top already
    const std::uint32_t code = (wide << shift) & (magnitudes << shift);
    const std::uint32_t normal = code + (std::uint32_t(127 - bias) << 23);
    const std::uint32_t tiny = std::bit_cast<std::uint32_t>(float(std::int32_t(code)) * power(1 - bias - Fraction - shift));
    constexpr std::uint32_t special = Largest + 1 == NotANumber ? 0x7fc00000u : 0x7f800000u;  // what makes a NaN, or an infinity of that without fraction
    const std::uint32_t word = either(code < (1u << 23), tiny, normal) | (special & (0u - std::uint32_t(code > (Largest << shift))));
    return std::bit_cast<float>((wide & 0x80000000u) | word);
  }
};

// What is too large becomes infinite instead.
template <class Format, std::uint32_t Infinity, std::uint32_t FirstTooLarge>
struct overflowing : Format {
  ENTRAIN_HOST_DEVICE static constexpr typename Format::storage from(float value) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & 0x7fffffffu, code = Format::from(value);
    const bool over = magnitude >= FirstTooLarge && magnitude <= 0x7f800000u;
    return typename Format::storage(Format::either(over, (code & ~Format::magnitudes) | Infinity, code));
  }
};

}  // namespace detail

template <class Format>
struct small_float {
  typename Format::storage bits = 0;

  small_float() = default;
  ENTRAIN_HOST_DEVICE constexpr small_float(float value) : bits(Format::from(value)) {}
  ENTRAIN_HOST_DEVICE constexpr operator float() const { return Format::to(bits); }
  ENTRAIN_HOST_DEVICE constexpr small_float& operator+=(small_float other) { return *this = small_float(float(*this) + float(other)); }
};

using float16 = small_float<detail::small_format<5, 10, 0x7bff, 0x7e00>>;
using binary16 = small_float<detail::overflowing<detail::small_format<5, 10, 0x7bff, 0x7e00>, 0x7c00, 0x477ff000>>;  // from 65520 on
using float8_e4m3 = small_float<detail::small_format<4, 3, 0x7e, 0x7f>>;
using float8_e5m2 = small_float<detail::small_format<5, 2, 0x7b, 0x7e>>;

template <> struct dtype_of<float16> { static constexpr dtype value = dtype::f16; };
template <> struct dtype_of<binary16> { static constexpr dtype value = dtype::f16; };
template <> struct dtype_of<float8_e4m3> { static constexpr dtype value = dtype::f8_e4m3; };
template <> struct dtype_of<float8_e5m2> { static constexpr dtype value = dtype::f8_e5m2; };

// Either of the two of IEEE's format.
template <class T>
inline constexpr bool is_half = std::is_same_v<T, float16> || std::is_same_v<T, binary16>;

// The largest finite number.
template <class F>
inline constexpr float largest_of = 0;
template <int E, int M, std::uint32_t L, std::uint32_t N>
inline constexpr float largest_of<small_float<detail::small_format<E, M, L, N>>> = detail::small_format<E, M, L, N>::to(typename detail::small_format<E, M, L, N>::storage(L));

}  // namespace entrain
