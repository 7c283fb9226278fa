// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/levels.hpp>

// QSGD (Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: communication-efficient SGD via gradient quantization and encoding",
// NIPS 2017): in each bucket of d values v becomes |v|_2 sign(v) xi / s, where xi is s |v| / |v|_2 rounded at random to one of its
// neighbours 0, ..., s. Fixed width here; elias_qsgd.hpp has codes of variable length.
//
// Wire of a bucket: the norm, sizeof(T) bytes (4 for fp32), and ceil(d (1 + ceil(log2(s + 1))) / 8) bytes of levels. Default: 6
// bits a value + 4 bytes for 1024. Payload: gathered (sums of levels are no levels). Memory: none.
// Unbiased, E|q - v|^2 <= min(d / s^2, sqrt(d) / s) |v|^2, and at most s (s + sqrt(d)) levels are not zero in the mean. With
// norm::maximum the step is max |v| / s: for Gaussian values and d = 1024 some 10 times finer.
//
// Pitfalls: smaller buckets, smaller error (512 to 8192 in the paper). Each rank draws its own numbers, or the noise would not
// average out. Error feedback around it diverges where the bound exceeds 1: it is no contraction unless scaled down.

namespace entrain::compress {

struct qsgd {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::gatherable;
  static constexpr bool unbiased = true;
  template <class T>
  using wire_type = std::uint8_t;

  int levels = 16;            // s, 1 to 127
  std::size_t bucket = 1024;  // values that share a norm; 0: the whole block
  norm scale = norm::euclidean;

  template <class T>
  std::size_t wire_count(std::size_t n) const {
    if (n == 0) return 0;
    const std::size_t d = bucket == 0 ? n : bucket;
    return n / d * bucket_bytes<T>(d) + (n % d == 0 ? 0 : bucket_bytes<T>(n % d));
  }
  template <class T>
  no_state make_state(std::size_t) const {
    detail::check_levels("compress::qsgd", levels);
    return {};
  }
  double contraction(const block& b) const { return detail::levels_contraction(levels, bucket == 0 ? b.count : std::min(bucket, b.count)); }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<std::uint8_t> wire) const {
    const detail::random_words random(where);
    const int bits = detail::level_bits(levels);
    std::uint8_t codes[detail::bit_chunk];
    for_each_bucket(values, wire.data(), [&](std::size_t first, std::span<T> v, std::uint8_t* out) {
      const T size = detail::level_scale(scale, v.data(), v.size());
      std::memcpy(out, &size, sizeof(T));
      detail::for_each_chunk(v.size(), [&](std::size_t at, std::size_t count) {
        detail::round_to_levels(v.data() + at, count, size, levels, random, std::uint32_t(first + at), codes);
        detail::pack(bits, codes, count, out + sizeof(T) + detail::packed_bytes(at, bits));
      });
    });
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T factor) const {
    const int bits = detail::level_bits(levels);
    std::uint8_t codes[detail::bit_chunk];
    for_each_bucket(values, wire.data(), [&](std::size_t, std::span<T> v, const std::uint8_t* in) {
      T size;
      std::memcpy(&size, in, sizeof(T));
      detail::for_each_chunk(v.size(), [&](std::size_t at, std::size_t count) {
        detail::unpack(bits, in + sizeof(T) + detail::packed_bytes(at, bits), count, codes);
        detail::add_levels(codes, count, size, levels, factor, v.data() + at);
      });
    });
  }

  std::string describe() const {
    return describe_members("qsgd", "levels", levels, "bucket", bucket, "scale", scale == norm::maximum ? "maximum" : "euclidean");
  }
  friend bool operator==(const qsgd&, const qsgd&) = default;

 private:
  template <class T>
  std::size_t bucket_bytes(std::size_t d) const { return sizeof(T) + detail::packed_bytes(d, detail::level_bits(levels)); }

  // Calls f(number of its first value, values, their wire) for each bucket.
  template <class T, class Byte, class F>
  void for_each_bucket(std::span<T> values, Byte* wire, F&& f) const {
    const std::size_t n = values.size(), d = bucket == 0 ? n : bucket;
    for (std::size_t first = 0; first < n; first += d) {
      const std::size_t count = std::min(d, n - first);
      f(first, values.subspan(first, count), wire);
      wire += bucket_bytes<T>(count);
    }
  }
};

}  // namespace entrain::compress
