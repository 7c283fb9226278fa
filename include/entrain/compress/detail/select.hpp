// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <type_traits>

#include <entrain/compress/detail/scan.hpp>

// Selection of large values: the k-th largest magnitude exactly, and all entries above a threshold. What top_k and the
// sparsifiers by threshold share. Sources: see scan.hpp.

namespace entrain::compress::detail {

// k = ceil(ratio n), at least 1 and at most n.
inline std::size_t share_of(double ratio, std::size_t n) {
  return std::min(n, std::max<std::size_t>(1, std::size_t(std::ceil(ratio * double(n)))));
}

// Room for `times` as many, at most n.
inline std::size_t room_for(double times, double ratio, std::size_t n) {
  return std::min(n, std::size_t(std::ceil(std::max(1.0, times) * double(share_of(ratio, n)))));
}

// The contraction of the m largest of n values: k/n for every vector, since what is left holds at most the rest's share of the norm.
inline double contraction_of(std::size_t m, std::size_t n) { return n == 0 ? 1 : double(m) / double(n); }

template <class Bits>
struct selection {
  Bits threshold;     // the k-th largest magnitude
  std::size_t above;  // entries strictly larger than it
};

// A guess of [low, high) around the k-th largest magnitude, four standard deviations on either side, from at most 4096 values
// at equal distances.
template <class Source, class Bits>
void guess_bracket(Source&& source, std::size_t k, Bits& low, Bits& high) {
  std::array<Bits, 4096> sample;
  const std::size_t n = source.size(), count = std::min(sample.size(), n / 16), stride = n / count;
  for (std::size_t j = 0; j < count; ++j) sample[j] = magnitude(*source.chunk(j * stride, 1));
  const double share = double(k) / double(n), rank = share * double(count), margin = 4 * std::sqrt(rank * (1 - share)) + 2;
  const auto first = sample.begin(), last = first + std::ptrdiff_t(count);
  const auto largest = [&](double r) {
    std::nth_element(first, first + std::ptrdiff_t(r), last, std::greater<>());
    return sample[std::size_t(r)];
  };
  if (rank - margin >= 0) high = std::max(largest(rank - margin), low + 1);
  if (rank + margin < double(count)) low = std::min(std::max(low, largest(rank + margin)), Bits(high - 1));
}

// What lies in [low, high), in bins of 2^shift, and how much lies above.
template <class Bits>
struct magnitude_counts {
  std::array<std::uint32_t, 2048> bins{};
  std::size_t above = 0, inside = 0;
};

template <class Source, class Bits>
void count_magnitudes(Source&& source, Bits low, Bits high, int shift, magnitude_counts<Bits>& counts) {
  alignas(64) std::uint8_t flags[scan_chunk];
  const std::size_t n = source.size();
  for (std::size_t first = 0; first < n; first += scan_chunk) {
    const std::size_t count = std::min(scan_chunk, n - first);
    const auto* x = source.chunk(first, count);
    std::uint32_t above = 0;
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < count; ++i) above += std::uint32_t(magnitude(x[i]) >= high);
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < count; ++i) flags[i] = std::uint8_t(Bits(magnitude(x[i]) - low) < Bits(high - low));
    counts.above += above;
    for_each_flag(flags, count, [&](std::size_t i) { ++counts.inside, ++counts.bins[std::size_t((magnitude(x[i]) - low) >> shift)]; });
  }
}

// Exact, for 1 <= k <= n. Narrows [low, high) by counting in 2048 bins, one pass over the values each; what lies outside only
// costs comparisons. With a good guess two or three passes for floats; no memory. `floor`: a lower bound that the result is
// known to have.
template <class Source, class Bits = magnitude_bits<typename std::decay_t<Source>::value_type>>
selection<Bits> kth_largest(Source&& source, std::size_t k, Bits floor = 0) {
  constexpr int digit = 11;
  constexpr Bits end = Bits(1) << (8 * sizeof(Bits) - 1);
  Bits low = floor, high = end;
  if (source.size() >= 8192) guess_bracket(source, k, low, high);
  for (;;) {
    const int shift = std::max(0, int(std::bit_width(Bits(high - low - 1))) - digit);
    magnitude_counts<Bits> counts;
    count_magnitudes(source, low, high, shift, counts);
    if (counts.above >= k) low = high, high = end;                               // the guess was too low
    else if (counts.above + counts.inside < k) high = low, low = floor;          // or too high
    else {
      std::size_t bin = std::size_t((high - low - 1) >> shift);
      while (counts.above + counts.bins[bin] < k) counts.above += counts.bins[bin--];
      low += Bits(bin) << shift;
      if (shift == 0) return {low, counts.above};
      high = std::min(high, Bits(low + (Bits(1) << shift)));
    }
  }
}

// Writes the entries whose magnitude is at least `threshold`, as many as there is room for; returns how many there are.
template <class Source, class T>
std::size_t collect(Source&& source, magnitude_bits<T> threshold, std::span<sparse_entry<T>> wire) {
  std::size_t count = 0;
  sparse_entry<T>* const out = wire.data();
  const std::size_t room = wire.size();
  scan(source, [threshold](T x, std::uint32_t) { return magnitude(x) >= threshold; },
       [&](std::uint32_t i, T x) {
         if (count < room) out[count] = {i, x};
         ++count;
       });
  return count;
}

// Calls f(i, x) for the k values of largest magnitude, ties to the lowest index, in ascending order.
template <class Source, class F, class Bits = magnitude_bits<typename std::decay_t<Source>::value_type>>
void for_each_largest(Source&& source, std::size_t k, F&& f, Bits floor = 0) {
  if (k == 0) return;
  const auto found = kth_largest(source, k, floor);
  const Bits t = found.threshold;
  std::size_t ties = k - found.above;
  scan(source, [t](auto x, std::uint32_t) { return magnitude(x) >= t; },
       [&](std::uint32_t i, auto x) {
         if (magnitude(x) == t) {
           if (ties == 0) return;
           --ties;
         }
         f(i, x);
       });
}

// Fills the wire with the entries of largest magnitude.
template <class Source, class T>
void collect_largest(Source&& source, std::span<sparse_entry<T>> wire, magnitude_bits<T> floor = 0) {
  sparse_entry<T>* out = wire.data();
  for_each_largest(source, wire.size(), [&](std::uint32_t i, T x) { *out++ = {i, x}; }, floor);
}

// The entries whose magnitude is at least `threshold`; where there are more than the wire holds, the largest of them.
template <class Source, class T>
std::size_t collect_at_most(Source&& source, magnitude_bits<T> threshold, std::span<sparse_entry<T>> wire) {
  const std::size_t count = collect(source, threshold, wire);
  if (count > wire.size()) collect_largest(source, wire, threshold);
  return std::min(count, wire.size());
}

}  // namespace entrain::compress::detail
