// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/detail/select.hpp>

// A threshold for "the largest `ratio` of the values" from a sample of them. The sample has at least 16 / ratio values, so that about
// 16 of them or more lie above the threshold, whose share is then off by 25 % (one standard deviation) or less; a block
// with fewer values than that is its own sample.

namespace entrain::compress::detail {

inline std::size_t sample_size(double share, double ratio, std::size_t n) {
  const double wanted = std::ceil(std::max(share * double(n), 16 / std::max(ratio, 1e-9)));
  return wanted >= double(n) ? n : std::size_t(wanted);
}

// The ceil(ratio * samples)-th largest magnitude.
template <class T>
magnitude_bits<T> threshold_of(std::span<const T> sample, double ratio) {
  if (sample.empty()) return 1;
  return std::max<magnitude_bits<T>>(1, kth_largest(in_memory<T>(sample), share_of(ratio, sample.size())).threshold);
}

// At equal distances from a random start, another one each step.
template <class T>
void sample_strided(std::span<const T> values, const random_words& random, std::span<T> sample) {
  if (sample.empty()) return;
  const std::size_t stride = values.size() / sample.size(), slack = values.size() - stride * sample.size();
  const T* from = values.data() + std::size_t((std::uint64_t(random[0]) * (stride + slack)) >> 32);
  for (std::size_t j = 0; j < sample.size(); ++j) sample[j] = from[j * stride];
}

// Uniformly with replacement.
template <class T>
void sample_with_replacement(std::span<const T> values, const random_words& random, std::span<T> sample) {
  const std::uint64_t n = values.size();
  for (std::size_t j = 0; j < sample.size(); ++j) sample[j] = values[std::size_t((random[std::uint32_t(j)] * n) >> 32)];
}

}  // namespace entrain::compress::detail
