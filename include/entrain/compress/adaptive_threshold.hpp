// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/select.hpp>

// Sparsification by a threshold that follows the gradients, so that about `ratio` of the values travel (the aim: Dryden, Moon,
// Jacobs, Van Essen, "Communication quantization for data-parallel training of deep neural networks", MLHPC 2016). The rule is that of
// Ok-Topk (Li & Hoefler, "Near-optimal sparse allreduce for distributed deep learning", PPoPP 2022): every `exact_every` steps the
// threshold is the k-th largest magnitude; in between it is kept, and multiplied by `nudge` after a step that sent more than
// 5k/4, divided by it after one that sent fewer than 2k/3.
//
// Payload: sparse, ascending, of variable length: 8 bytes in fp32 for each entry with |x| >= threshold. Capacity: ceil(most * k), k =
// max(1, ceil(ratio * n)); where more reach the threshold, the largest of them travel. Biased: wrap it in error_feedback.
// Contraction: k/n in the exact steps; in between none can be stated. Memory: one number, checkpointed. Cost: one pass, in
// exact steps four.
//
// Pitfalls: gradients that shrink by more than 1.2 % a step outrun the nudge until the next exact step; a step that finds nothing
// above the threshold measures it again at the next.

namespace entrain::compress {

struct adaptive_threshold {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = true;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;
  double most = 2;       // capacity, in multiples of k
  double nudge = 1.012;
  int exact_every = 32;  // steps

  template <class T>
  struct state {
    double threshold = 0;  // 0: not known
    void visit(auto&& visitor) { visitor("threshold", threshold); }
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return detail::room_for(most, ratio, n); }
  template <class T>
  state<T> make_state(std::size_t) const { return {}; }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    if (values.empty()) return 0;
    const detail::in_memory<T> source(values);
    const std::size_t k = detail::share_of(ratio, values.size());
    const bool exact = !(s.threshold > 0) || where.step % std::uint64_t(std::max(1, exact_every)) == 0;
    if (exact) s.threshold = double(std::bit_cast<T>(detail::kth_largest(source, k).threshold));
    const std::size_t count = detail::collect_at_most(source, detail::threshold_bits(T(s.threshold)), wire);
    if (4 * count > 5 * k) s.threshold *= nudge;
    else if (count == 0) s.threshold = 0;
    else if (3 * count < 2 * k) s.threshold /= nudge;
    return count;
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  std::string describe() const {
    return describe_members("adaptive_threshold", "ratio", ratio, "most", most, "nudge", nudge, "exact_every", exact_every);
  }
  friend bool operator==(const adaptive_threshold&, const adaptive_threshold&) = default;
};

}  // namespace entrain::compress
