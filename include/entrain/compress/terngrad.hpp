// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/levels.hpp>

// TernGrad (Wen et al., "TernGrad: ternary gradients to reduce communication in distributed deep learning", NIPS 2017): each value
// becomes -s, 0 or s, where s = max |g| of the block and the chance of not being 0 is |g| / s. Before that the values are
// clipped to `clip` times their root mean square (the paper's sigma; about zero rather than the mean, so that a block of one
// value or of equal ones is not clipped away): s falls, and with it the noise.
//
// Wire: the scale, sizeof(T) bytes (4 for fp32), and two bits a value: ceil(n / 4); with packing::base3 five values a byte:
// ceil(n / 5). Payload: gathered. Memory: none.
// Unbiased of the clipped gradient: with clip = 0 of the gradient. E|q - g|^2 = s |g|_1 - |g|_2^2 exactly.
//
// Pitfalls: one large value makes all others noise: clip. The bias of clipping does not average out over steps or ranks. The
// threshold follows the values, so their unit (a sum over samples) does not matter. The paper's scale that is shared by the
// workers, with integer sums, is compress/shared_terngrad.hpp.

namespace entrain::compress {

enum class trits { two_bits, base3 };

struct terngrad {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::gatherable;
  static constexpr bool unbiased = true;
  template <class T>
  using wire_type = std::uint8_t;

  double clip = 2.5;  // in root mean squares of the block; 0: no clipping
  trits packing = trits::two_bits;

  bool keeps_mean() const { return clip <= 0; }  // of the gradient as it was before clipping

  template <class T>
  std::size_t wire_count(std::size_t n) const {
    return n == 0 ? 0 : sizeof(T) + (packing == trits::base3 ? (n + 4) / 5 : (n + 3) / 4);
  }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }
  // From s <= |g|_2 and |g|_1 <= sqrt(n) |g|_2; below 0 if it adds more noise than there is signal.
  double contraction(const block& b) const { return 1 - std::max(clip > 0 ? 1.0 : 0.0, std::sqrt(double(b.count)) - 1); }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<std::uint8_t> wire) const {
    if (values.empty()) return;
    const T scale = scale_of<T>(values);
    std::memcpy(wire.data(), &scale, sizeof(T));
    const detail::random_words random(where);
    std::uint8_t codes[chunk];
    for_each_chunk(values.size(), [&](std::size_t first, std::size_t count) {
      detail::round_to_levels(values.data() + first, count, scale, 1, random, std::uint32_t(first), codes);
      std::uint8_t* out = wire.data() + sizeof(T);
      if (packing == trits::base3) pack_base3(codes, count, out + first / 5);
      else detail::packing<2>::pack(codes, count, out + first / 4);
    });
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T factor) const {
    if (values.empty()) return;
    T scale;
    std::memcpy(&scale, wire.data(), sizeof(T));
    std::uint8_t codes[chunk];
    for_each_chunk(values.size(), [&](std::size_t first, std::size_t count) {
      const std::uint8_t* in = wire.data() + sizeof(T);
      if (packing == trits::base3) unpack_base3(in + first / 5, count, codes);
      else detail::packing<2>::unpack(in + first / 4, count, codes);
      detail::add_levels(codes, count, scale, 1, factor, values.data() + first);
    });
  }

  // The largest magnitude after clipping.
  template <class T>
  T scale_of(std::span<const T> values) const {
    T most = 0;
    double squares = 0;
    for_each_chunk(values.size(), [&](std::size_t first, std::size_t count) {  // both while the chunk is in the nearest cache
      most = std::max(most, detail::largest_magnitude(values.data() + first, count));
      if (clip > 0) squares += detail::sum_squares(values.data() + first, count);
    });
    if (clip <= 0) return most;
    const T* v = values.data();
    const double size = detail::squares_fit<T>(squares) ? std::sqrt(squares) : detail::euclidean_norm(v, values.size());
    const double limit = clip * size / std::sqrt(double(values.size()));
    return limit < double(most) ? T(limit) : most;
  }

  std::string describe() const { return describe_members("terngrad", "clip", clip, "packing", packing == trits::base3 ? "base3" : "two_bits"); }
  friend bool operator==(const terngrad&, const terngrad&) = default;

 private:
  static constexpr std::size_t chunk = 1280;  // whole bytes in both packings, and whole lanes

  template <class F>
  static void for_each_chunk(std::size_t n, F&& f) {
    for (std::size_t first = 0; first < n; first += chunk) f(first, std::min(chunk, n - first));
  }

  // Byte g = sum of 3^j codes[j q + g] over five lanes of q = ceil(n / 5); lanes end where the values do.
  static void pack_base3(std::uint8_t* codes, std::size_t n, std::uint8_t* out) {
    const std::size_t q = (n + 4) / 5;
    std::fill(codes + n, codes + 5 * q, std::uint8_t(0));
    ENTRAIN_VECTORISE
    for (std::size_t g = 0; g < q; ++g)
      out[g] = std::uint8_t(codes[g] + 3 * (codes[q + g] + 3 * (codes[2 * q + g] + 3 * (codes[3 * q + g] + 3 * codes[4 * q + g]))));
  }
  static void unpack_base3(const std::uint8_t* in, std::size_t n, std::uint8_t* codes) {
    const std::size_t q = (n + 4) / 5;
    ENTRAIN_VECTORISE
    for (std::size_t g = 0; g < q; ++g) {
      std::uint8_t left = in[g];
      for (std::size_t j = 0; j < 5; ++j) {
        const std::uint8_t third = std::uint8_t(left * 171u >> 9);  // left / 3
        codes[j * q + g] = std::uint8_t(left - 3 * third);
        left = third;
      }
    }
  }
};

}  // namespace entrain::compress
