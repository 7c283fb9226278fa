// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/sample.hpp>

// DRAGONN (Wang, Xu, Wu, Shrivastava, Ng, "DRAGONN: distributed randomized approximate gradients of neural networks", ICML 2022):
// threshold sparsification without prefix sums. The threshold is a quantile of a 1 % random sample. Every index above it is
// stored in the slot h(index) of l = 4 k slots, the last one wins, and the slots that are not empty travel. Here one core
// scans, and stores go in ascending order, so that the result is the same every time; on many cores any order is as good.
//
// Payload: sparse, of variable length, in the order of the slots: 8 bytes in fp32 for each entry kept. Capacity: l (or n), which also
// bounds what is sent where the sample missed and far more than k values lie above the threshold.
// Kept of k hits in l slots: l (1 - (1 - 1/l)^k): 0.632 / 0.787 / 0.885 of them for l = k / 2k / 4k. Contraction in expectation: about
// (l/k)(1 - e^(-k/l)) k/n. Biased: wrap it in error_feedback, which keeps everything that was not sent, also what lost a
// collision. Memory: 4 l bytes of slots and the sample. Cost: one pass over the values.
//
// The hash is seeded by the step (and block and rank): with one seed the same pairs would collide for ever. The empty mark is
// UINT32_MAX and not 0, with which index 0 would never be sent. As in the released code, k = floor(ratio n), small blocks have a
// ratio of 1 % (here: at least 1 %), and the first 200 steps are dense with compress::after{200, error_feedback{dragonn{}}}. Which
// tensors are worth it is the question of a selection by cost, not of this policy.

namespace entrain::compress {

struct dragonn {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = true, ascending = false;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;
  double sample = 0.01;              // share of the values that the threshold is computed from; at least 16 / ratio of them
  double slots_per_entry = 4;        // l / k
  std::size_t small_block = 131072;  // up to this many values the ratio is at least 1 %; 0: never

  // What is kept of n values, and the slots for it.
  double ratio_of(std::size_t n) const { return n <= small_block ? std::max(ratio, 0.01) : ratio; }
  std::size_t slots(std::size_t n) const {
    if (n == 0) return 0;
    const double k = std::max(1.0, std::floor(ratio_of(n) * double(n)));
    return std::max<std::size_t>(1, std::size_t(std::ceil(slots_per_entry * k)));
  }

  template <class T>
  struct state {
    buffer<T> sample;  // scratch, as the slots
    buffer<std::uint32_t> slots;
    void visit(auto&&) {}
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return std::min(n, slots(n)); }
  template <class T>
  state<T> make_state(std::size_t n) const {
    return {buffer<T>(detail::sample_size(sample, ratio_of(n), n)), buffer<std::uint32_t>(slots(n))};
  }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    if (values.empty()) return 0;
    constexpr std::uint32_t empty = UINT32_MAX;
    const detail::random_words hash(where, 0);
    detail::sample_with_replacement(std::span<const T>(values), detail::random_words(where, 1), s.sample.span());
    const auto threshold = detail::threshold_of(std::span<const T>(s.sample.span()), ratio_of(values.size()));
    std::uint32_t* const slots = s.slots.data();
    const std::uint64_t l = s.slots.size();
    std::fill_n(slots, l, empty);
    detail::scan(detail::in_memory(values), [threshold](T x, std::uint32_t) { return detail::magnitude(x) >= threshold; },
                 [&](std::uint32_t i, T) { slots[(std::uint64_t(hash[i]) * l) >> 32] = i; });
    std::size_t kept = 0;
    for (std::size_t j = 0; j < l; ++j)
      if (slots[j] != empty) wire[kept++] = {slots[j], values[slots[j]]};
    return kept;
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  std::string describe() const {
    return describe_members("dragonn", "ratio", ratio, "sample", sample, "slots_per_entry", slots_per_entry, "small_block", small_block);
  }
  friend bool operator==(const dragonn&, const dragonn&) = default;
};

}  // namespace entrain::compress
