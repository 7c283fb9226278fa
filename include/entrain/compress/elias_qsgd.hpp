// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bit_stream.hpp>
#include <entrain/compress/detail/levels.hpp>

// QSGD with codes of variable length (Alistarh et al., NIPS 2017, section 3): the same rounding as qsgd.hpp, value for value,
// but only levels that are not zero travel, each as the Elias gamma code of 1 + the zeros before it, a sign, and the Elias
// gamma code of the level. Small levels and long runs of zeros are what the norm makes likely: with s = 1 and d = 1024 some
// 0.33 bits a value instead of 2, with s = 16 1.9 instead of 6. (The paper's omega code is shorter than gamma only for numbers
// from 128 on.)
//
// Wire: variable. Of each bucket: the norm, sizeof(T) bytes, and its codes, filled up to whole bytes; a bucket of zeros is its
// norm alone. At most sizeof(T) + ceil(d (2 + gamma(s)) / 8) bytes a bucket, gamma(s) = 2 floor(log2 s) + 1: that much is
// reserved, and with many levels it is more than qsgd's fixed width. Payload: gathered. Memory: none. Unbiased.
//
// Pitfalls: ranks send different lengths. Bit by bit, so slower than qsgd: for slow wires. Worth it with norm::euclidean and
// about sqrt(d) levels or fewer, where most are zero or one; with norm::maximum few are.

namespace entrain::compress {

struct elias_qsgd {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::gatherable;
  static constexpr bool unbiased = true, variable = true;
  template <class T>
  using wire_type = std::uint8_t;

  int levels = 16;            // s, 1 to 127
  std::size_t bucket = 1024;  // values that share a norm; 0: the whole block
  norm scale = norm::euclidean;

  template <class T>
  std::size_t wire_count(std::size_t n) const {
    if (n == 0) return 0;
    const std::size_t d = bucket == 0 ? n : bucket;
    return n / d * most_bytes<T>(d) + (n % d == 0 ? 0 : most_bytes<T>(n % d));
  }
  template <class T>
  no_state make_state(std::size_t) const {
    detail::check_levels("compress::elias_qsgd", levels);
    return {};
  }
  double contraction(const block& b) const { return detail::levels_contraction(levels, bucket == 0 ? b.count : std::min(bucket, b.count)); }

  template <class T>
  std::size_t encode(no_state&, const context& where, std::span<T> values, std::span<std::uint8_t> wire) const {
    const detail::random_words random(where);
    const std::size_t n = values.size(), d = bucket == 0 ? n : bucket;
    std::uint8_t* out = wire.data();
    for (std::size_t first = 0; first < n; first += d) {
      const std::span<T> v = values.subspan(first, std::min(d, n - first));
      const T size = detail::level_scale(scale, v.data(), v.size());
      std::memcpy(out, &size, sizeof(T));
      out += sizeof(T);
      if (size != T(0)) out = encode_levels(std::span<const T>(v), size, random, first, out);
    }
    return std::size_t(out - wire.data());
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T factor) const {
    const std::size_t n = values.size(), d = bucket == 0 ? n : bucket;
    const std::uint8_t *in = wire.data(), *const last = in + wire.size();
    for (std::size_t first = 0; first < n; first += d) {
      const std::span<T> v = values.subspan(first, std::min(d, n - first));
      T size;
      if (std::size_t(last - in) < sizeof(T)) refuse(last - in, " bytes in place of a scale");
      std::memcpy(&size, in, sizeof(T));
      in += sizeof(T);
      if (size == T(0)) continue;
      detail::bit_reader codes(in, last);
      for (std::size_t at = 0; (at += codes.gamma() - 1) < v.size(); ++at) {
        const bool negative = codes.bits(1) != 0;
        const std::uint32_t found = codes.gamma();
        if (found > std::uint32_t(levels)) refuse(found, " as a level");
        const int level = int(found);
        const std::uint8_t code = std::uint8_t(negative ? levels - level : levels + level);
        detail::add_levels(&code, 1, size, levels, factor, &v[at]);
        if (at + 1 == v.size()) break;  // no run of zeros follows the last value
      }
      in = codes.end();
    }
  }

  std::string describe() const {
    return describe_members("elias_qsgd", "levels", levels, "bucket", bucket, "scale", scale == norm::maximum ? "maximum" : "euclidean");
  }
  friend bool operator==(const elias_qsgd&, const elias_qsgd&) = default;

 private:
  template <class Found>
  [[noreturn]] static void refuse(Found found, const char* as) {
    throw communication_error("compress::elias_qsgd", "what arrived is no encoding of this block", "scales and Elias codes", entrain::detail::text(found, as));
  }

  // A run of r zeros takes 2 floor(log2(r + 1)) + 1 bits, no more than the r levels that could stand in its place.
  template <class T>
  std::size_t most_bytes(std::size_t d) const { return sizeof(T) + (d * (2 + detail::gamma_bits(unsigned(levels))) + 7) / 8; }

  // The codes of one bucket; zeros at its end are a run without a level behind it.
  template <class T>
  std::uint8_t* encode_levels(std::span<const T> v, T size, const detail::random_words& random, std::size_t first,
                              std::uint8_t* out) const {
    constexpr std::size_t chunk = 1024;
    std::uint8_t codes[chunk];
    detail::bit_writer stream(out);
    std::uint32_t zeros = 0;
    for (std::size_t at = 0; at < v.size(); at += chunk) {
      const std::size_t count = std::min(chunk, v.size() - at);
      detail::round_to_levels(v.data() + at, count, size, levels, random, std::uint32_t(first + at), codes);
      for (std::size_t i = 0; i < count; ++i) {
        const int level = int(codes[i]) - levels;
        if (level == 0) {
          ++zeros;
          continue;
        }
        stream.gamma(zeros + 1);
        stream.bits(level < 0, 1);
        stream.gamma(std::uint32_t(level < 0 ? -level : level));
        zeros = 0;
      }
    }
    if (zeros > 0) stream.gamma(zeros + 1);
    return stream.end();
  }
};

}  // namespace entrain::compress
