// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include <entrain/core/config.hpp>
#include <entrain/core/error.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/compress/detail/random_bits.hpp>

// Random rounding to the levels -s, ..., s of a scale: what qsgd, elias_qsgd and terngrad share. A value v becomes
// floor(a) or floor(a) + 1, a = s v / scale, with the chance that makes the mean a; for any scale >= max |v| that is unbiased.
// The same numbers come out for whatever chunks the values are given in.

namespace entrain::compress {

// What the levels of a bucket are multiples of: |v|_2 / s (the paper's), or max |v| / s (smaller error, more nonzeros).
enum class norm { euclidean, maximum };

namespace detail {

inline constexpr int most_levels = 127;  // a code fits a byte

// ceil(log2(s + 1)) bits for the magnitude and one for the sign.
constexpr int level_bits(int s) { return 1 + int(std::bit_width(unsigned(s))); }

inline void check_levels(const char* where, int s) {
  if (s < 1 || s > most_levels) throw usage_error(where, "a number of levels that no byte holds", "1 <= levels <= 127", std::to_string(s));
}

// E|q - v|^2 <= min(d / s^2, sqrt(d) / s) |v|^2 for both norms, as a contraction: 1 less that, below 0 if it adds more noise
// than there is signal.
inline double levels_contraction(int s, std::size_t d) { return 1 - std::min(double(d) / s / s, std::sqrt(double(d)) / s); }

// A norm whose square fits no float is cut to the largest one: it is still no less than any value.
template <class T>
T level_scale(norm which, const T* v, std::size_t n) {
  if (which == norm::maximum) return largest_magnitude(v, n);
  const double size = euclidean_norm(v, n);
  constexpr T most = std::numeric_limits<T>::max();
  return size <= double(most) || !(largest_magnitude(v, n) <= most) ? T(size) : most;
}

// Below this neither s / scale nor scale / s is sure to be a normal number.
template <class T>
inline constexpr T tiny_scale = std::numeric_limits<T>::min() * T(1ull << 34);

// codes[i] = level of v[i] + s, in [0, 2 s]; `first` is the number of v[0] in its block. All levels are 0 where scale is 0;
// values beyond the scale take the last level. In fixed point: with a + s in units of 2^-23, adding 23 random bits and cutting
// the fraction off rounds at random, in three instructions. The chance is right to a's last place next to s: 2^-19 for s = 16.
template <class T>
void round_to_levels(const T* v, std::size_t n, T scale, int s, const random_words& random, std::uint32_t first, std::uint8_t* codes) {
  constexpr T unit = T(1 << 23), boost = T(1ull << 45) * T(1ull << 45);
  const random_words words = random;  // a copy, in registers: stores of bytes might change what a reference refers to
  const auto round = [=](T value, T factor, std::size_t i) {
    T a = value * factor + unit * T(s);
    a = a > T(0) ? a : T(0);
    a = a < 2 * unit * T(s) ? a : 2 * unit * T(s);
    return std::uint8_t((std::uint32_t(std::int32_t(a)) + (words[first + std::uint32_t(i)] >> 9)) >> 23);
  };
  if (scale < tiny_scale<T>) {
    const T factor = scale > 0 ? unit * T(s) / (scale * boost) : T(0);
    for (std::size_t i = 0; i < n; ++i) codes[i] = round(v[i] * boost, factor, i);
    return;
  }
  const T factor = unit * T(s) / scale;
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < n; ++i) codes[i] = round(v[i], factor, i);
}

// out[i] += factor * scale / s * level of codes[i].
template <class T>
void add_levels(const std::uint8_t* codes, std::size_t n, T scale, int s, T factor, T* out) {
  if (scale < tiny_scale<T>) {
    for (std::size_t i = 0; i < n; ++i) out[i] += factor * (scale * T(int(codes[i]) - s) / T(s));
    return;
  }
  const T unit = factor * (scale / T(s));
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < n; ++i) out[i] += unit * T(int(codes[i]) - s);
}

}  // namespace detail
}  // namespace entrain::compress
