// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include <entrain/core/config.hpp>

// Norms of a span in one pass, as compressors need them: added in double, so that floats neither overflow nor underflow, in
// 32 partial sums whose order is fixed. The result depends on the values alone.

namespace entrain::compress::detail {

// f over 2 Half partial results, in a tree whose sizes the compiler knows: for short spans a loop over sizes would take most of the time.
template <std::size_t Half, class T, class F>
T folded(T* partial, F&& f) {
  for (std::size_t j = 0; j < Half; ++j) partial[j] = f(partial[j], partial[j + Half]);
  if constexpr (Half > 1) return folded<Half / 2>(partial, f);
  else return partial[0];
}

template <class T, class F>
double sum_of(const T* x, std::size_t n, F&& term) {
  constexpr std::size_t lanes = 32;
  double partial[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::size_t j = 0; j < lanes; ++j) partial[j] += term(double(x[i + j]));
  for (std::size_t j = 0; i + j < n; ++j) partial[j] += term(double(x[i + j]));
  return folded<lanes / 2>(partial, [](double a, double b) { return a + b; });
}

template <class T>
double sum_magnitudes(const T* x, std::size_t n) {
  return sum_of(x, n, [](double v) { return std::abs(v); });
}

template <class T>
double sum_squares(const T* x, std::size_t n) {
  return sum_of(x, n, [](double v) { return v * v; });
}

template <class T>
T largest_magnitude(const T* x, std::size_t n) {
  constexpr std::size_t lanes = 32;
  T partial[lanes] = {};
  std::size_t i = 0;
  const auto larger = [](T a, T b) { return a > b ? a : b; };
  for (; i + lanes <= n; i += lanes)
    for (std::size_t j = 0; j < lanes; ++j) partial[j] = larger(partial[j], std::abs(x[i + j]));
  for (std::size_t j = 0; i + j < n; ++j) partial[j] = larger(partial[j], std::abs(x[i + j]));
  return folded<lanes / 2>(partial, larger);
}

// Whether a sum of squares of values of type T lost nothing to the ends of double's range.
template <class T>
bool squares_fit(double squares) {
  return sizeof(T) < sizeof(double) || (squares > 1e-280 && squares < 1e300);
}

// Euclidean norm, also of doubles whose squares leave their range.
template <class T>
double euclidean_norm(const T* x, std::size_t n) {
  const double squares = sum_squares(x, n);
  if (squares_fit<T>(squares)) return std::sqrt(squares);
  const double most = double(largest_magnitude(x, n));
  if (most == 0 || !(most <= std::numeric_limits<double>::max())) return most;
  return most * std::sqrt(sum_of(x, n, [most](double v) { return v / most * (v / most); }));
}

}  // namespace entrain::compress::detail
