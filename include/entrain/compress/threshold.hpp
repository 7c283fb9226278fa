// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/select.hpp>

// Sparsification by a fixed threshold (Strom, "Scalable distributed DNN training using commodity GPU cloud computing", Interspeech
// 2015, without its quantisation): every entry with |x| >= value travels, in the unit of the encoded values, which is the
// gradient's sum over this rank's samples. Biased: wrap it in error_feedback.
//
// Payload: sparse, ascending, of variable length: 8 bytes in fp32 for each entry. Capacity: ceil(most * n); where more reach the
// threshold, the largest of them travel. Zeros never do, also with value = 0. Contraction: none can be stated, a step in which nothing
// reaches the threshold sends nothing; |x - decoded| stays below `value` for each entry unless the capacity was reached.
// Memory: none. Cost: one pass.
//
// Pitfall: a good threshold depends on the model, the layer and the batch and moves during training: adaptive_threshold follows it.

namespace entrain::compress {

struct threshold {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = true;
  template <class T>
  using wire_type = sparse_entry<T>;

  double value = 0.001;
  double most = 1;  // capacity, as a share of the values

  template <class T>
  std::size_t wire_count(std::size_t n) const { return detail::share_of(most, n); }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  std::size_t encode(no_state&, const context&, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    return detail::collect_at_most(detail::in_memory(values), detail::threshold_bits(T(value)), wire);
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  std::string describe() const { return describe_members("threshold", "value", value, "most", most); }
  friend bool operator==(const threshold&, const threshold&) = default;
};

}  // namespace entrain::compress
