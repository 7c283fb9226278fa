// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <entrain/compress/qsgd.hpp>
#include <entrain/device/compress/levels.cuh>

// compress::qsgd on the device, with the host's random numbers and wire. Buckets of up to 1024 values, as the default: a warp a bucket,
// values are read once and stay in registers between norm and rounding. Larger buckets: a pass for the norms first. Bytes a value in
// fp32, six bits: encode 4.75 (8.75 where buckets are larger), decode_add 8.75. 16 M values: 19 and 34 us at 4.3 TB/s. Doubles whose
// squares leave double's range have no rescue here.

namespace entrain::device {

struct qsgd_scale {
  compress::norm which;
  template <class T>
  __device__ T scale(std::size_t, const magnitudes& m) const {
    if (which == compress::norm::maximum) return T(m.largest);
    const double size = std::sqrt(m.squares);
    constexpr T most = std::numeric_limits<T>::max();
    return size <= double(most) || !(m.largest <= double(most)) ? T(size) : most;
  }
};

inline constexpr std::size_t level_chunk = compress::detail::bit_chunk;

// Buckets of one chunk.
template <int Bits, class T>
__global__ void __launch_bounds__(256) encode_small_buckets(bucket_shape b, qsgd_scale how, int levels, compress::detail::random_words random, const T* values, std::uint8_t* wire, bool wide) {
  const std::size_t bucket = blockIdx.x * std::size_t(8) + threadIdx.x / 32, first = bucket * b.d, lane = threadIdx.x % 32;
  if (first >= b.n) return;
  const std::size_t count = b.n - first < b.d ? b.n - first : b.d;
  const T* v = values + first;
  quad<T> kept[8];
  magnitudes m{0, 0};
  T largest = 0;
  const auto measure = [&](T x) {
    const T size = std::abs(x);
    m.squares += double(size) * double(size), largest = largest > size ? largest : size;
  };
  if (count == level_chunk) {
    for (std::size_t j = 0; j < 8; ++j) {
      kept[j] = load_quad_once(v + j * (level_chunk / 8) + 4 * lane, 4, wide);
      for (int i = 0; i < 4; ++i) measure(kept[j].value[i]);
    }
  } else {
    for (std::size_t i = lane; i < count; i += 32) measure(v[i]);
  }
  m.squares = warp_sum(m.squares), m.largest = double(warp_max(largest));
  std::uint8_t* out = wire + bucket * b.bytes;
  const T scale = how.template scale<T>(count, m);
  if (lane == 0) write_bytes(out, scale);
  const level_rounder<T> round(scale, levels, random);
  if (count != level_chunk) return encode_chunk<bit_packing<Bits>, level_chunk>(round, v, first, count, out + sizeof(T), wide);
  std::uint32_t codes[8], words[Bits];
  for (std::size_t j = 0; j < 8; ++j) {
    codes[j] = 0;
    for (std::size_t i = 0; i < 4; ++i) codes[j] |= round(kept[j].value[i], first + j * (level_chunk / 8) + 4 * lane + i) << (8 * i);
  }
  bit_packing<Bits>::pack(codes, words);
  for (std::size_t k = 0; k < Bits; ++k) store_word(out + sizeof(T) + k * (level_chunk / 8) + 4 * lane, words[k]);
}

}  // namespace entrain::device

namespace entrain::compress {

template <class T>
std::size_t scratch_bytes(const qsgd& q, std::size_t n) {
  const std::size_t d = q.bucket == 0 || q.bucket > n ? n : q.bucket;
  return d <= device::level_chunk ? 0 : sizeof(device::magnitudes) * device::pieces_of(d) * ((n + d - 1) / d);
}

template <class T>
void encode(const engine::cuda_queue& queue, const qsgd& q, const context& where, const device::compress_scratch& scratch, const T* values, std::size_t n, std::uint8_t* wire) {
  if (n == 0) return;
  const std::size_t d = q.bucket == 0 || q.bucket > n ? n : q.bucket;
  const detail::random_words random(where);
  const device::qsgd_scale how{q.scale};
  detail::with_bits(detail::level_bits(q.levels), [&]<int Bits>() {
    using packing = device::bit_packing<Bits>;
    const auto shape = device::shape_of<device::level_chunk, packing>(n, d, sizeof(T));
    const bool wide = device::wide_buckets(shape, values);
    if (d <= device::level_chunk) {
      device::launch(queue, device::encode_small_buckets<Bits, T>, {device::warps_for(shape), 256}, shape, how, q.levels, random, values, wire, wide);
    } else {
      device::write_scales(queue, how, shape, values, reinterpret_cast<device::magnitudes*>(scratch.data()), wire);
      device::launch(queue, device::encode_levels<packing, device::level_chunk, T>, {device::warps_for(shape), 256}, shape, q.levels, random, values, wire, wide);
    }
  });
}

template <class T>
void decode_add(const engine::cuda_queue& queue, const qsgd& q, const context&, const std::uint8_t* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  if (n == 0) return;
  const std::size_t d = q.bucket == 0 || q.bucket > n ? n : q.bucket;
  detail::with_bits(detail::level_bits(q.levels), [&]<int Bits>() {
    using packing = device::bit_packing<Bits>;
    const auto shape = device::shape_of<device::level_chunk, packing>(n, d, sizeof(T));
    device::launch(queue, device::decode_levels<packing, device::level_chunk, T>, {device::warps_for(shape), 256}, shape, q.levels, wire, values, scale, device::wide_buckets(shape, values));
  });
}

}  // namespace entrain::compress
