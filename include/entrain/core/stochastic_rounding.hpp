// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

// Rounding by chance: up with the probability that makes the mean right (Gupta et al., "Deep learning with limited numerical precision",
// ICML 2015). Random bits are added below the last place that stays, and cut off. Saturates as core/small_float.hpp does; bfloat16
// and binary16 keep infinities, and what would become one is cut instead. The same bits on host and device.
//
//   const bfloat16 y = stochastically_rounded<bfloat16>(x, 32 random bits);

namespace entrain {

namespace detail {

template <int E, int M, std::uint32_t L, std::uint32_t N>
ENTRAIN_HOST_DEVICE constexpr auto stochastic_bits(float value, std::uint32_t random, std::type_identity<small_float<small_format<E, M, L, N>>>) {
  using format = small_format<E, M, L, N>;
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = word & 0x7fffffffu, sign = (word >> format::sign_shift) & ~format::magnitudes;
  const std::uint32_t below = random & ((1u << format::shift) - 1);
  const std::uint32_t normal = (magnitude - (std::uint32_t(127 - format::bias) << 23) + below) >> format::shift;
  constexpr std::uint32_t normals = std::uint32_t(128 - format::bias) << 23;
  const std::uint32_t small = 0u - ((magnitude - normals) >> 31);  // all ones below the normal numbers
  const float scaled = std::bit_cast<float>(magnitude & small) * format::power(format::bias - 1 + M);
  const std::uint32_t tiny = std::uint32_t(std::int32_t(scaled + float(std::int32_t(random >> 8)) * 0x1p-24f));
  std::uint32_t code = normal ^ ((tiny ^ normal) & small);
  code = code > L ? L : code;
  code = format::either(magnitude > 0x7f800000u, N, code);
  return typename format::storage(sign | code);
}
ENTRAIN_HOST_DEVICE constexpr std::uint16_t stochastic_bits(float value, std::uint32_t random, std::type_identity<binary16>) {
  return std::uint16_t((std::bit_cast<std::uint32_t>(value) & 0x7fffffffu) == 0x7f800000u ? binary16(value).bits : stochastic_bits(value, random, std::type_identity<float16>{}));
}
ENTRAIN_HOST_DEVICE constexpr std::uint16_t stochastic_bits(float value, std::uint32_t random, std::type_identity<bfloat16>) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t cut = word >> 16, up = (word + (random & 0xffffu)) >> 16;
  const std::uint32_t finite = (up & 0x7f80u) == 0x7f80u ? cut : up;  // what would become infinite stays what it is, as infinities do
  return std::uint16_t((word & 0x7fffffffu) > 0x7f800000u ? cut | 0x40u : finite);
}

}  // namespace detail

template <class To>
ENTRAIN_HOST_DEVICE constexpr To stochastically_rounded(float value, std::uint32_t random) {
  To out;
  out.bits = detail::stochastic_bits(value, random, std::type_identity<To>{});
  return out;
}

}  // namespace entrain
