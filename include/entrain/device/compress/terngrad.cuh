// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/terngrad.hpp>
#include <entrain/device/compress/levels.cuh>

// compress::terngrad on the device, both packings, with the host's random numbers and wire: a pass for the scale, one for the codes, a warp
// a chunk of 1280 values. Bytes a value in fp32: encode 8.25, decode_add 8.25. 16 M values: 32 us each at 4.3 TB/s (the second pass
// may find values in the second-level cache).

namespace entrain::device {

struct terngrad_scale {
  double clip;
  template <class T>
  __device__ T scale(std::size_t n, const magnitudes& m) const {
    if (!(clip > 0)) return T(m.largest);
    const double limit = clip * std::sqrt(m.squares) / std::sqrt(double(n));
    return limit < m.largest ? T(limit) : T(m.largest);
  }
};
inline constexpr std::size_t trit_chunk = 1280;

}  // namespace entrain::device

namespace entrain::compress {

template <class T>
std::size_t scratch_bytes(const terngrad&, std::size_t n) { return sizeof(device::magnitudes) * device::pieces_of(n); }

namespace detail {
template <class F>
void with_trits(trits which, F&& f) {
  if (which == trits::base3) f.template operator()<device::base3_packing>();
  else f.template operator()<device::bit_packing<2>>();
}
}  // namespace detail

template <class T>
void encode(const engine::cuda_queue& queue, const terngrad& t, const context& where, const device::compress_scratch& scratch, const T* values, std::size_t n, std::uint8_t* wire) {
  if (n == 0) return;
  detail::with_trits(t.packing, [&]<class Packing>() {
    const auto shape = device::shape_of<device::trit_chunk, Packing>(n, n, sizeof(T));
    device::write_scales(queue, device::terngrad_scale{t.clip}, shape, values, reinterpret_cast<device::magnitudes*>(scratch.data()), wire);
    device::launch(queue, device::encode_levels<Packing, device::trit_chunk, T>, {device::warps_for(shape), 256}, shape, 1, detail::random_words(where), values, wire,
                   device::wide_buckets(shape, values));
  });
}

template <class T>
void decode_add(const engine::cuda_queue& queue, const terngrad& t, const context&, const std::uint8_t* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  if (n == 0) return;
  detail::with_trits(t.packing, [&]<class Packing>() {
    const auto shape = device::shape_of<device::trit_chunk, Packing>(n, n, sizeof(T));
    device::launch(queue, device::decode_levels<Packing, device::trit_chunk, T>, {device::warps_for(shape), 256}, shape, 1, wire, values, scale, device::wide_buckets(shape, values));
  });
}

}  // namespace entrain::compress
