// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/levels.hpp>
#include <entrain/compress/terngrad.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>

// TernGrad with one scale for all ranks (Wen et al., NIPS 2017, section 3.2, "scaler sharing"): s is the largest of the ranks' scales, so
// that ternary values add up as whole numbers on their way, and traffic does not grow with the number of ranks as it does when
// encodings are gathered (compress/terngrad.hpp).
//
//   round 0   every rank puts its scale, max |g| after clipping, into a place of its own: the sum is the list of all
//   round 1   codes 0, 1, 2 for -s, 0, s are summed in fields that hold 2 p: 2 bits for one rank, 4 up to seven, 8 up to 127
//
// Payload: two rounds, both summed. Wire: p sizeof(T) bytes, then n / 2 bytes (up to 7 ranks) or n. An all-reduce sends that twice, the
// gather of terngrad (p - 1) n / 4: from 8 ranks on this one sends less than half, at 64 an eighth. More than 127 ranks: a usage_error.
// Unbiased of the gradient clipped to s: with clip = 0 of the gradient. E|q - g|^2 = s |g|_1 - |g|_2^2 of each rank, no less than with its
// own scale: the noise of sharing. Memory: a number a block. The fields stay within their bytes, since no sum exceeds 2 p.
//
// Pitfalls: those of terngrad, and a rank with larger values makes the others' noise. Values beyond a rank's own threshold but
// within s are not clipped.

namespace entrain::compress {

struct shared_terngrad {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::rounds;
  static constexpr int rounds = 2;
  static constexpr bool unbiased = true;
  static constexpr std::size_t most_ranks = 127;
  template <class T>
  using wire_type = std::uint8_t;

  double clip = 2.5;  // in root mean squares of a rank's block; 0: no clipping

  bool keeps_mean() const { return clip <= 0; }

  template <class T>
  struct state {
    T scale = 0;  // of this step
    void visit(auto&&) {}
  };

  // Of the field in which codes of that many ranks are summed.
  static constexpr int field_bits(std::size_t ranks) { return ranks <= 1 ? 2 : ranks <= 7 ? 4 : 8; }

  template <class T>
  std::size_t round_count(const block& b, int round) const {
    if (b.count == 0) return 0;
    return round == 0 ? b.ranks * sizeof(T) : detail::packed_bytes(b.count, field_bits(b.ranks));
  }
  template <class T>
  state<T> make_state(const block& b) const {
    if (b.ranks > most_ranks)
      throw usage_error("compress::shared_terngrad", "a sum of so many ranks' codes fits no byte: use compress::terngrad", "at most 127 ranks", std::to_string(b.ranks));
    return {};
  }

  template <class T>
  void round(state<T>& s, const context& where, int r, std::span<T> values, std::span<const std::uint8_t> summed, std::span<std::uint8_t> wire) const {
    if (values.empty()) return;
    if (r == 0) {
      const T scale = terngrad{.clip = clip}.scale_of(std::span<const T>(values));
      std::fill(wire.begin(), wire.end(), std::uint8_t(0));
      std::memcpy(wire.data() + where.rank * sizeof(T), &scale, sizeof(T));
      return;
    }
    s.scale = T(0);
    for (std::size_t i = 0; i < where.ranks; ++i) {
      T scale;
      std::memcpy(&scale, summed.data() + i * sizeof(T), sizeof(T));
      s.scale = std::max(s.scale, scale);
    }
    const int bits = field_bits(where.ranks);
    const detail::random_words random(where);
    std::uint8_t codes[detail::bit_chunk];
    detail::for_each_chunk(values.size(), [&](std::size_t first, std::size_t count) {
      detail::round_to_levels(values.data() + first, count, s.scale, 1, random, std::uint32_t(first), codes);
      detail::pack(bits, codes, count, wire.data() + first / 8 * std::size_t(bits));
    });
  }

  template <class T>
  void finish(state<T>& s, const context& where, std::span<const std::uint8_t> summed, std::span<T> values) const {
    if (values.empty()) return;
    const T scale = s.scale;
    const int bits = field_bits(where.ranks), zero = int(where.ranks);
    std::uint8_t codes[detail::bit_chunk];
    detail::for_each_chunk(values.size(), [&](std::size_t first, std::size_t count) {
      detail::unpack(bits, summed.data() + first / 8 * std::size_t(bits), count, codes);
      T* const out = values.data() + first;
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < count; ++i) out[i] = scale * T(int(codes[i]) - zero);
    });
  }

  std::string describe() const { return describe_members("shared_terngrad", "clip", clip); }
  friend bool operator==(const shared_terngrad&, const shared_terngrad&) = default;
};

}  // namespace entrain::compress
