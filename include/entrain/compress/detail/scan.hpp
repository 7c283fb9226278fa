// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include <entrain/core/config.hpp>
#include <entrain/compress/concepts.hpp>

// One pass over many values of which few are wanted, at the speed of memory: a loop that vectorises turns 1024 comparisons into
// bytes of 0 and 1, and these are looked through eight at a time, so that only what is wanted costs a branch.
//
//   detail::scan(detail::in_memory(values), [&](T x, std::uint32_t i) { return magnitude(x) >= t; }, [&](std::uint32_t i, T x) { ... });
//
// A source has size() and chunk(first, count), a pointer to values [first, first + count): what is computed as it is read (the
// estimates of a sketch) is scanned like what lies in memory.

namespace entrain::compress::detail {

inline constexpr std::size_t scan_chunk = 1024;

template <class T>
using magnitude_bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// The bits of |x|: they order like |x|, with NaN above infinity.
template <class T>
constexpr magnitude_bits<T> magnitude(T x) {
  return std::bit_cast<magnitude_bits<T>>(x) & (~magnitude_bits<T>(0) >> 1);
}

// The bits of a threshold: at least those of the smallest number above 0, so that zeros are never selected.
template <class T>
constexpr magnitude_bits<T> threshold_bits(T threshold) { return threshold > T(0) ? magnitude(threshold) : magnitude_bits<T>(1); }

template <class T>
class in_memory {
 public:
  using value_type = T;
  explicit in_memory(std::span<T> values) : values_(values) {}
  explicit in_memory(std::span<const T> values) : values_(values) {}
  std::size_t size() const { return values_.size(); }
  const T* chunk(std::size_t first, std::size_t) const { return values_.data() + first; }

 private:
  std::span<const T> values_;
};
template <class T>
in_memory(std::span<T>) -> in_memory<std::remove_const_t<T>>;

// Calls each(j) for every flag j < count that is 1; flags has room for scan_chunk.
template <class Each>
void for_each_flag(std::uint8_t* flags, std::size_t count, Each&& each) {
  std::fill(flags + count, flags + (count + 7) / 8 * 8, std::uint8_t(0));
  for (std::size_t at = 0; at < count; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, flags + at, sizeof(word));
    if (word == 0) continue;
    if constexpr (std::endian::native == std::endian::little) {
      for (; word != 0; word &= word - 1) each(at + std::size_t(std::countr_zero(word)) / 8);
    } else {
      for (std::size_t j = at; j < at + 8; ++j)
        if (flags[j] != 0) each(j);
    }
  }
}

// Calls each(i, x) in ascending order for the values x with keep(x, i). keep has no branches and no side effects.
template <class Source, class Keep, class Each>
void scan(Source&& source, Keep&& keep, Each&& each) {
  alignas(64) std::uint8_t flags[scan_chunk];
  const std::size_t n = source.size();
  for (std::size_t first = 0; first < n; first += scan_chunk) {
    const std::size_t count = std::min(scan_chunk, n - first);
    const auto* x = source.chunk(first, count);
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < count; ++i) flags[i] = std::uint8_t(keep(x[i], std::uint32_t(first + i)));
    for_each_flag(flags, count, [&](std::size_t i) { each(std::uint32_t(first + i), x[i]); });
  }
}

// values[index] += scale * value: how every sparse payload is decoded. What distinct indices cost is one cache line each.
template <class T>
void add_entries(std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) {
  for (const auto& entry : wire) values[entry.index] += scale * entry.value;
}

}  // namespace entrain::compress::detail
