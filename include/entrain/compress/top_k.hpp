// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>

// Top-k sparsification (Aji & Heafield 2017; Alistarh et al., NeurIPS 2018): of each block only the `ratio` entries of
// largest magnitude travel, as (index, value) pairs. Biased: wrap it in error_feedback. Contraction: the part left behind
// holds at most (1 - k/n) of the squared norm. Wire: 8 k bytes in fp32, k = max(1, ceil(ratio * n)).
//
// The k-th largest magnitude is found exactly, by radix selection on the bits of |x| (an IEEE number's magnitude orders
// like its bits): one counting pass for each 11 bits, no copy and no memory in proportion to n. Ties at the threshold go
// to the lowest indices, so the result depends on the values alone.

namespace entrain::compress {

struct top_k {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;

  template <class T>
  std::size_t wire_count(std::size_t n) const {
    return std::min(n, std::max<std::size_t>(1, std::size_t(std::ceil(ratio * double(n)))));
  }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  void encode(no_state&, const context&, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    if (wire.empty()) return;
    const auto [threshold, above] = select(std::span<const T>(values), wire.size());
    std::size_t ties = wire.size() - above, filled = 0;
    for (std::size_t i = 0; i < values.size() && filled < wire.size(); ++i) {
      const auto m = magnitude(values[i]);
      if (m < threshold || (m == threshold && ties == 0)) continue;
      ties -= m == threshold;
      wire[filled++] = {std::uint32_t(i), values[i]};
    }
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    for (const auto& entry : wire) values[entry.index] += scale * entry.value;
  }

  std::string describe() const { return describe_members("top_k", "ratio", ratio); }
  friend bool operator==(const top_k&, const top_k&) = default;

 private:
  template <class T>
  using bits_of = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

  template <class T>
  static bits_of<T> magnitude(T x) { return std::bit_cast<bits_of<T>>(x) & (~bits_of<T>(0) >> 1); }

  template <class T>
  struct selection {
    bits_of<T> threshold;  // the k-th largest magnitude
    std::size_t above;     // entries strictly larger than it
  };

  // Narrows [prefix, prefix + 2^shift) around the k-th largest magnitude, eleven bits at a time.
  template <class T>
  static selection<T> select(std::span<const T> values, std::size_t k) {
    constexpr int digit = 11, width = int(8 * sizeof(T)) - 1;
    bits_of<T> prefix = 0;
    std::size_t above = 0;
    for (int high = width; high > 0;) {
      const int low = std::max(0, high - digit);
      std::array<std::size_t, 1 << digit> histogram{};
      for (const T& x : values) {
        const auto m = magnitude(x);
        if (high == width || (m >> high) == (prefix >> high)) ++histogram[(m >> low) & ((1u << (high - low)) - 1)];
      }
      std::size_t bin = (std::size_t(1) << (high - low)) - 1;
      while (above + histogram[bin] < k) above += histogram[bin--];
      prefix |= bits_of<T>(bin) << low;
      high = low;
    }
    return {prefix, above};
  }
};

}  // namespace entrain::compress
