// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/stochastic_rounding.hpp>

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
    for (std::uint32_t i = 0; i < n; ++i) out[i] = stochastically_rounded<Wire>(float(in[i]), random[i]);
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
};

}  // namespace entrain::compress
