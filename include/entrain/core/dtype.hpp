// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <entrain/core/config.hpp>

// Element types: the names under which they appear in messages, files and on the wire, and the 16-bit brain float that
// C++20 lacks. Any trivially copyable type is an element; one that has no name of its own travels as bytes.

namespace entrain {

// 8 exponent and 7 fraction bits: a float with its lower half cut off. Rounds to nearest, ties to even; keeps NaN.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  ENTRAIN_HOST_DEVICE constexpr bfloat16(float value) : bits(round(value)) {}
  ENTRAIN_HOST_DEVICE constexpr operator float() const { return std::bit_cast<float>(std::uint32_t(bits) << 16); }
  ENTRAIN_HOST_DEVICE constexpr bfloat16& operator+=(bfloat16 other) { return *this = bfloat16(float(*this) + float(other)); }

  ENTRAIN_HOST_DEVICE static constexpr std::uint16_t round(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t nearest = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    const bool nan = (word & 0x7fffffffu) > 0x7f800000u;
    return std::uint16_t(nan ? (word >> 16) | 0x40u : nearest);  // a select, not a branch: the loops around it vectorise
  }
};

enum class dtype : std::uint8_t { u8, i8, u16, i16, u32, i32, u64, i64, bf16, f32, f64, bytes, f16, f8_e4m3, f8_e5m2 };

template <class T>
struct dtype_of { static constexpr dtype value = dtype::bytes; };
template <> struct dtype_of<bfloat16> { static constexpr dtype value = dtype::bf16; };
template <> struct dtype_of<float> { static constexpr dtype value = dtype::f32; };
template <> struct dtype_of<double> { static constexpr dtype value = dtype::f64; };
template <std::integral T>
  requires(!std::same_as<T, bool> && sizeof(T) <= 8)
struct dtype_of<T> {
  static constexpr int width = std::countr_zero(sizeof(T));
  static constexpr dtype value = dtype(2 * width + (std::is_signed_v<T> ? 1 : 0));
};

template <class T>
concept element = std::is_trivially_copyable_v<T>;

constexpr std::size_t size_of(dtype type) {
  constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 1, 2, 1, 1};
  return sizes[std::size_t(type)];
}

constexpr std::string_view name_of(dtype type) {
  constexpr std::string_view names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "bf16", "f32", "f64", "bytes", "f16", "f8_e4m3", "f8_e5m2"};
  return names[std::size_t(type)];
}

}  // namespace entrain
