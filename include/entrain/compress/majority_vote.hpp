// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>

// signSGD with majority vote (Bernstein, Wang, Azizzadenesheli, Anandkumar, "signSGD", ICML 2018; Bernstein et al., "signSGD with
// majority vote is communication efficient and fault tolerant", ICLR 2019): every rank sends the signs of its gradient, the owner of a
// part counts votes, and the sign of the majority goes to all. With momentum each rank votes by the sign of its running mean (Signum).
//
// What arrives is a direction of +1 and -1, not a sum: it is applied as if it were the mean gradient, so the step is
// learning_rate * vote and its rate is far smaller than that of SGD (1e-4 to 1e-3). A tie and a zero count as +.
// Robust: fewer than half of the ranks, whatever they send, cannot turn a coordinate on which the others agree.
//
// Payload: two phases. Wire: p parts and one part of ceil(n / p) values rounded up to 8, one bit each: about n / 4 bytes.
// Biased, and no magnitude is left: for guarantees use error_feedback{sign{}}. Memory: n values with momentum, else n / p bytes.

namespace entrain::compress {

struct majority_vote {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::two_phase;
  static constexpr bool direction = true;
  template <class T>
  using wire_type = std::uint8_t;

  double momentum = 0;

  template <class T>
  struct state {
    buffer<T> mean;
    buffer<std::uint8_t> codes;
    buffer<std::int32_t> votes;
    void visit(auto&& visitor) { visitor("mean", mean.span()); }
  };

  template <class T>
  std::size_t part_count(std::size_t n) const { return detail::packed_bytes(n, 1); }
  template <class T>
  state<T> make_state(const block& b) const {
    return {buffer<T>(momentum > 0 ? b.count : 0), buffer<std::uint8_t>(std::min(b.count, detail::bit_chunk)), buffer<std::int32_t>(std::min(b.count, detail::bit_chunk))};
  }

  template <class T>
  void encode_parts(state<T>& s, const context& where, std::span<T> values, std::size_t each, std::span<std::uint8_t> wire) const {
    if (momentum > 0)
      for (std::size_t i = 0; i < values.size(); ++i) s.mean[i] = values[i] = T(momentum) * s.mean[i] + T(1 - momentum) * values[i];
    const std::size_t length = part_count<T>(each), n = values.size();
    for (std::size_t j = 0; j < where.ranks; ++j) {
      const std::size_t first = std::min(n, j * each), count = std::min(n, first + each) - first;
      detail::pack_signs(values.data() + first, count, wire.data() + j * length);
    }
  }

  template <class T>
  void combine(state<T>& s, const context& where, std::span<const std::uint8_t> arrived, std::size_t n, std::span<std::uint8_t> out) const {
    const std::size_t length = out.size();
    detail::for_each_chunk(n, [&](std::size_t first, std::size_t count) {
      std::int32_t* const votes = s.votes.data();
      std::uint8_t* const codes = s.codes.data();
      std::fill_n(votes, count, 0);
      for (std::size_t r = 0; r < where.ranks; ++r) {
        detail::packing<1>::unpack(arrived.data() + r * length + first / 8, count, codes);
        ENTRAIN_VECTORISE
        for (std::size_t i = 0; i < count; ++i) votes[i] += codes[i];  // a bit of 1 is a minus
      }
      const std::int32_t half = std::int32_t(where.ranks);
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < count; ++i) codes[i] = 2 * votes[i] > half;
      detail::packing<1>::pack(codes, count, out.data() + first / 8);
    });
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    if (!values.empty()) detail::add_signs(wire.data(), values.size(), scale, T(-scale), values.data());
  }

  std::string describe() const { return describe_members("majority_vote", "momentum", momentum); }
  friend bool operator==(const majority_vote&, const majority_vote&) = default;
};

}  // namespace entrain::compress
