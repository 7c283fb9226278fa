// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

// Magnitudes, the k-th largest of them, and lists of (index, value) pairs in one piece of memory, as comm/ok_topk.hpp needs
// them.

namespace entrain::comm::ok_top_k_detail {

// The format in which magnitudes are compared: exact for floating-point elements and integers of up to 53 bits.
template <class T>
using magnitude_type = std::conditional_t<std::integral<T> || sizeof(T) == 8, double, float>;

// NaN counts as infinite: it must be seen, not stay behind.
template <class T>
magnitude_type<T> magnitude(T x) {
  using M = magnitude_type<T>;
  const M m = std::fabs(M(x));
  return m <= std::numeric_limits<M>::max() ? m : std::numeric_limits<M>::infinity();
}

// The k-th largest magnitude, exactly; 0 when there are fewer than k. By radix selection on the bits of the magnitude, which
// order as it does: a counting pass for each eleven bits, no memory in proportion to the values.
template <class T>
magnitude_type<T> kth_largest(std::span<const T> values, std::size_t k) {
  using M = magnitude_type<T>;
  using bits = std::conditional_t<sizeof(M) == 4, std::uint32_t, std::uint64_t>;
  if (k == 0 || values.size() < k) return 0;
  constexpr int digit = 11, width = int(8 * sizeof(M)) - 1;
  bits prefix = 0;
  std::size_t above = 0;
  for (int high = width; high > 0;) {
    const int low = high > digit ? high - digit : 0;
    std::array<std::size_t, 1 << digit> histogram{};
    for (const T& x : values) {
      const bits m = std::bit_cast<bits>(magnitude(x));
      if (high == width || (m >> high) == (prefix >> high)) ++histogram[std::size_t(m >> low) & ((std::size_t(1) << (high - low)) - 1)];
    }
    std::size_t bin = (std::size_t(1) << (high - low)) - 1;
    while (above + histogram[bin] < k) above += histogram[bin--];
    prefix |= bits(bin) << low;
    high = low;
  }
  return std::bit_cast<M>(prefix);
}

// found(i) for every value that is not zero and has at least the threshold's magnitude, in order.
template <class T, class Found>
void for_each_at_least(std::span<const T> values, magnitude_type<T> threshold, Found&& found) {
  constexpr std::size_t block = 16;
  const auto passes = [threshold](T x) {
    const auto m = magnitude(x);
    return (m >= threshold) & (m > 0);
  };
  std::size_t i = 0;
  for (; i + block <= values.size(); i += block) {
    bool any = false;
    for (std::size_t j = 0; j < block; ++j) any |= passes(values[i + j]);
    if (!any) continue;
    for (std::size_t j = 0; j < block; ++j)
      if (passes(values[i + j])) found(i + j);
  }
  for (; i < values.size(); ++i)
    if (passes(values[i])) found(i);
}

// n pairs as they travel: all values, then all indices. No alignment is assumed.
template <class T>
struct pairs {
  static constexpr std::size_t bytes = sizeof(std::uint32_t) + sizeof(T);
  static void pack(const std::uint32_t* indices, const T* values, std::size_t n, std::byte* to) {
    if (n == 0) return;
    std::memcpy(to, values, n * sizeof(T));
    std::memcpy(to + n * sizeof(T), indices, n * sizeof(std::uint32_t));
  }
  static void unpack(const std::byte* from, std::size_t n, std::uint32_t* indices, T* values) {
    if (n == 0) return;
    std::memcpy(static_cast<void*>(values), from, n * sizeof(T));
    std::memcpy(indices, from + n * sizeof(T), n * sizeof(std::uint32_t));
  }
  static std::uint32_t index(const std::byte* from, std::size_t n, std::size_t i) {
    std::uint32_t out;
    std::memcpy(&out, from + n * sizeof(T) + i * sizeof out, sizeof out);
    return out;
  }
  static T value(const std::byte* from, std::size_t i) {
    T out;
    std::memcpy(static_cast<void*>(&out), from + i * sizeof(T), sizeof(T));
    return out;
  }
};

}  // namespace entrain::comm::ok_top_k_detail
