// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

// compress::cast that rounds by chance: up with the probability that makes the mean right (Gupta et al., "Deep learning with limited
// numerical precision", ICML 2015). Small gradients survive in the mean where rounding to nearest would lose them every time.
//
// Wire, payload and saturation: as compress::cast. Unbiased within the format's range; where 16-bit encodings are summed, the sums
// round to nearest. Memory: none.

namespace entrain::compress {

template <class Wire>
struct stochastic_cast {
  using slot_type = slot::compression;
  static constexpr bool positional = sizeof(Wire) >= 2, unbiased = true;
  static constexpr payload_kind payload = positional ? payload_kind::summable : payload_kind::gatherable;
  static constexpr double largest = 100;  // within every format's range, for the laws
  template <class T>
  using wire_type = Wire;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<Wire> wire) const {
    const detail::random_words random(where);
    const T* in = values.data();
    Wire* out = wire.data();
    const std::uint32_t n = std::uint32_t(values.size());
    ENTRAIN_VECTORISE
    for (std::uint32_t i = 0; i < n; ++i) out[i].bits = rounded(float(in[i]), random[i]);
  }

  template <class T>
  void decode_add(const context&, std::span<const Wire> wire, std::span<T> values, T scale) const {
    const Wire* in = wire.data();
    T* out = values.data();
    const std::size_t n = values.size();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) out[i] += scale * T(float(in[i]));
  }

  std::string describe() const { return "stochastic_cast<" + std::string(name_of(dtype_of<Wire>::value)) + ">"; }
  friend bool operator==(const stochastic_cast&, const stochastic_cast&) = default;

 private:
  // Random bits added below the last place that stays, and cut off: carries with the right probability.
  template <int E, int M, std::uint32_t L, std::uint32_t N>
  static auto round_to(float value, std::uint32_t random, std::type_identity<small_float<entrain::detail::small_format<E, M, L, N>>>) {
    using format = entrain::detail::small_format<E, M, L, N>;
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
  static std::uint16_t round_to(float value, std::uint32_t random, std::type_identity<bfloat16>) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t cut = word >> 16, up = (word + (random & 0xffffu)) >> 16;
    const std::uint32_t finite = (up & 0x7f80u) == 0x7f80u ? cut : up;  // what would become infinite stays what it is, as infinities do
    return std::uint16_t((word & 0x7fffffffu) > 0x7f800000u ? cut | 0x40u : finite);
  }
  static auto rounded(float value, std::uint32_t random) { return round_to(value, random, std::type_identity<Wire>{}); }
};

}  // namespace entrain::compress
