// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>

// A quantiser in both directions: every block is cut into one part for each rank; the rank that owns a part adds up what all ranks
// sent of it, quantises the sum, and sends that to all. Traffic does not grow with the number of ranks, as it does when every rank's
// encoding is gathered (Seide et al., "1-bit SGD", Interspeech 2014; Tang et al., "1-bit Adam", ICML 2021).
//
//   compress::two_phase{compress::sign{}}
//
// Both sides keep what they left out and add it to their next message: the worker a residual as long as the block, the owner one as
// long as its part. Over all steps and ranks: what was applied + all workers' residuals + the owners' residuals = the gradients.
//
// The inner policy: gathered, of fixed length, without memory. sign and others with scale_of() and encode_scaled() take the worker's
// scale from its whole block, as in 1-bit Adam; the rest encode each part by itself.
// Payload: two phases. Wire: p parts and one part, each the inner's wire_count of ceil(n / p) values rounded up to 8; for sign about
// n / 4 + 8 p bytes. Memory: n + n / p values.
//
// The owner's residual is saved as part_residual, which is put together and cut anew on another number of ranks.

namespace entrain::compress {

template <class Inner>
struct two_phase {
  using slot_type = slot::compression;
  static_assert(Inner::payload == payload_kind::gatherable && !is_variable<Inner>,
                "compress::two_phase combines encodings of a fixed length at one rank: put it around a quantiser such as compress::sign or compress::qsgd");
  static_assert(!requires(state_of<Inner, float>& s) { s.residual; },
                "compress::two_phase keeps residuals on both sides, and another one inside would be shared by all parts: put it around the quantiser itself");
  static constexpr payload_kind payload = payload_kind::two_phase;
  template <class T>
  using wire_type = wire_of<Inner, T>;

  Inner inner;
  bool feedback;  // residuals on both sides

  explicit constexpr two_phase(Inner c = {}, bool with_feedback = true) : inner(c), feedback(with_feedback) {}

  template <class T>
  struct state {
    buffer<T> residual, part_residual, scratch;
    state_of<Inner, T> inner;
    void visit(auto&& visitor) {
      visitor("residual", residual.span());
      visitor("part_residual", part_residual.span());
    }
  };

  // Values of a part: the same for all ranks.
  static constexpr std::size_t part_values(std::size_t n, std::size_t ranks) { return ((n + ranks - 1) / ranks + 7) / 8 * 8; }

  template <class T>
  std::size_t part_count(std::size_t n) const { return inner.template wire_count<T>(block(n)); }
  template <class T>
  state<T> make_state(const block& b) const {
    const std::size_t part = b.count == 0 ? 0 : part_values(b.count, b.ranks);
    return {buffer<T>(feedback ? b.count : 0), buffer<T>(feedback ? part : 0), buffer<T>(part), inner.template make_state<T>(block(part))};
  }

  template <class T>
  void encode_parts(state<T>& s, const context& where, std::span<T> values, std::size_t each, std::span<wire_type<T>> wire) const {
    const std::size_t length = part_count<T>(each), n = values.size();
    if (feedback)
      for (std::size_t i = 0; i < n; ++i) s.residual[i] = values[i] += s.residual[i];
    const auto scale = whole_scale(std::span<const T>(values));
    for (std::size_t j = 0; j < where.ranks; ++j) {
      const std::size_t first = std::min(n, j * each), count = std::min(n, first + each) - first;
      const auto part = values.subspan(first, count);
      const auto out = wire.subspan(j * length, length).first(part_count<T>(count));
      encode_part(s, of_part(where, j), part, scale, out);
      if (feedback) inner.decode_add(of_part(where, j), std::span<const wire_type<T>>(out), s.residual.span().subspan(first, count), T(-1));
    }
  }

  // At the owner of a part of n values: `arrived` has every rank's encoding of it.
  template <class T>
  void combine(state<T>& s, const context& where, std::span<const wire_type<T>> arrived, std::size_t n, std::span<wire_type<T>> out) const {
    const std::size_t length = out.size(), filled = part_count<T>(n);
    const auto sum = s.scratch.span().first(n);
    std::fill(sum.begin(), sum.end(), T(0));
    if (feedback) std::copy_n(s.part_residual.begin(), n, sum.begin());
    context from = of_part(where, where.rank);
    for (std::uint32_t r = 0; r < where.ranks; ++r) {
      from.rank = r;
      inner.decode_add(from, arrived.subspan(r * length, filled), sum, T(1));
    }
    if (feedback) std::copy_n(sum.begin(), n, s.part_residual.begin());
    const context here = combined(where);
    encode_part(s, here, sum, whole_scale(std::span<const T>(sum)), out.first(filled));
    if (feedback) inner.decode_add(here, std::span<const wire_type<T>>(out.first(filled)), s.part_residual.span().first(n), T(-1));
  }

  // A combined part; where.rank is its owner.
  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    inner.decode_add(combined(where), wire.first(part_count<T>(values.size())), values, scale);
  }

  std::string describe() const { return "two_phase{" + entrain::describe(inner) + (feedback ? "" : ", no feedback") + "}"; }
  friend bool operator==(const two_phase&, const two_phase&) = default;

 private:
  // Random numbers: a part's own at each worker, and others for what the owner encodes. A part is one row.
  static context of_part(context where, std::size_t part) {
    where.seed ^= 0x9e3779b97f4a7c15ull * (2 * part + 2);
    where.rows = 1, where.columns = 0;
    return where;
  }
  static context combined(const context& where) {
    context out = of_part(where, where.rank);
    out.seed ^= 0x5851f42d4c957f2dull;
    return out;
  }

  template <class T>
  static auto whole_scale(std::span<const T> values) {
    if constexpr (requires { Inner::template scale_of<T>(values); Inner::template encode_scaled<T>(values, T{}, std::span<wire_type<T>>()); }) return Inner::template scale_of<T>(values);
    else return no_state{};
  }
  template <class T, class Scale>
  void encode_part(state<T>& s, const context& where, std::span<T> part, Scale scale, std::span<wire_type<T>> out) const {
    if constexpr (std::is_same_v<Scale, T>) Inner::template encode_scaled<T>(std::span<const T>(part), scale, out);
    else inner.encode(s.inner, where, part, out);
  }
};

}  // namespace entrain::compress
