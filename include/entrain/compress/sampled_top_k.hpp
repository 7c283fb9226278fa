// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/sample.hpp>
#include <entrain/compress/detail/select.hpp>

// Top-k with a threshold from a sample (Lin, Han, Mao, Wang, Dally, "Deep gradient compression", ICLR 2018, section 3 and its
// code): the threshold is the quantile of a 1 % strided sample with a random start each step; one pass collects what is no
// smaller. More than 1.3 k entries: the k largest of them are selected exactly. Fewer than 0.8 k: the threshold falls by x0.8,
// up to 10 rounds, after which k are selected exactly.
//
// Payload: sparse, ascending, of variable length: 8 bytes in fp32 for each of 0.8 k to 1.3 k entries, k = max(1, ceil(ratio * n)), or
// of all values that are not 0 where these are fewer. Capacity: ceil(1.3 k). They are always the largest ones: contraction 0.8 k/n at
// least. Biased: wrap it in error_feedback. Memory: the sample and the capacity. Cost: one pass over the values and the sample.
//
// Pitfalls: many equal magnitudes make the sample say nothing; then the exact selection costs three passes more.

namespace entrain::compress {

struct sampled_top_k {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = true;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;
  double sample = 0.01;  // share of the values that the threshold is computed from; at least 16 / ratio of them

  template <class T>
  struct state {
    buffer<T> sample;  // scratch, as what one pass has found
    buffer<sparse_entry<T>> found;
    void visit(auto&&) {}
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return detail::room_for(1.3, ratio, n); }
  template <class T>
  state<T> make_state(std::size_t n) const {
    return {buffer<T>(detail::sample_size(sample, ratio, n)), buffer<sparse_entry<T>>(wire_count<T>(n))};
  }
  double contraction(const block& b) const { return detail::contraction_of(least(b.count), b.count); }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    if (values.empty()) return 0;
    const detail::in_memory<T> source(values);
    const std::size_t k = detail::share_of(ratio, values.size());
    if (k == values.size()) return detail::collect_largest(source, wire.first(k)), k;  // all of them: nothing to estimate
    detail::sample_strided(std::span<const T>(values), detail::random_words(where), s.sample.span());
    auto threshold = detail::threshold_of(std::span<const T>(s.sample.span()), ratio);
    std::size_t count = detail::collect(source, threshold, s.found.span());
    for (int round = 0; count < least(values.size()) && threshold > 1; ++round) {
      threshold = round < 10 ? detail::threshold_bits(std::bit_cast<T>(threshold) * T(0.8)) : detail::magnitude_bits<T>(1);
      count = detail::collect(source, threshold, s.found.span());
    }
    if (count <= wire.size()) return std::copy_n(s.found.data(), count, wire.data()), count;
    detail::collect_largest(source, wire.first(k), threshold);
    return k;
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  std::string describe() const { return describe_members("sampled_top_k", "ratio", ratio, "sample", sample); }
  friend bool operator==(const sampled_top_k&, const sampled_top_k&) = default;

 private:
  std::size_t least(std::size_t n) const { return std::size_t(std::ceil(0.8 * double(detail::share_of(ratio, n)))); }
};

}  // namespace entrain::compress
