// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/select.hpp>

// Top-k sparsification (Aji & Heafield, EMNLP 2017; Alistarh et al., NeurIPS 2018): of each block only the `ratio` entries of
// largest magnitude travel, as (index, value) pairs. Biased: wrap it in error_feedback. Wire: 8 k bytes in fp32, k = max(1,
// ceil(ratio * n)). Contraction: k/n, since the part left behind holds at most (1 - k/n) of the squared norm.
//
// The k-th largest magnitude is found exactly: a sample gives a bracket, two passes of counting on the bits of |x| narrow it to
// one number (an IEEE number's magnitude orders like its bits), one more pass collects. No copy and no memory. Ties at the
// threshold go to the lowest indices, so the result depends on the values alone.

namespace entrain::compress {

struct top_k {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return detail::share_of(ratio, n); }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }
  double contraction(const block& b) const { return detail::contraction_of(detail::share_of(ratio, b.count), b.count); }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    detail::collect_largest(detail::in_memory(values), wire);
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  std::string describe() const { return describe_members("top_k", "ratio", ratio); }
  friend bool operator==(const top_k&, const top_k&) = default;
};

}  // namespace entrain::compress
