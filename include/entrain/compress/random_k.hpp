// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/prefetch.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/detail/select.hpp>

// Random-k sparsification (Stich, Cordonnier, Jaggi, "Sparsified SGD with memory", NeurIPS 2018) with a seed that all ranks share: they
// choose the same k indices from (seed, step, block), so that only the values travel, and travel in all-reduce.
//
//   random_k           the values as they are; E|x - q|^2 = (1 - k/n) |x|^2, contraction k/n: wrap it in error_feedback
//   unbiased_random_k  times n/k; unbiased, E|x - q|^2 = (n/k - 1) |x|^2
//
// Wire: 4 k bytes in fp32, k = max(1, ceil(ratio * n)). Payload: summable. Memory: none. Cost: k cache lines, whatever n is.
//
// How the indices are chosen: [0, n) is a circle, cut into k arcs of n/k values (whole numbers: some arcs are one longer), all
// rotated by one offset o that is uniform in [0, n); each arc gives one of its values. They are distinct, for arcs are
// disjoint. Each index is chosen with the chance k/n exactly: turning the circle by one maps the offset o to o + 1, which is as
// likely, so all indices have the same chance, and the chances add to k. Two neighbours are together less often than in independent
// draws, which changes neither the mean nor the squared error (both only depend on the chance of one index).
// Random words have 32 bits, so arcs of a values are uneven by a / 2^32.

namespace entrain::compress {

template <bool Scaled>
struct basic_random_k {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool unbiased = Scaled, shared_seed = true, selects = true;
  template <class T>
  using wire_type = T;

  double ratio = 0.01;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return detail::share_of(ratio, n); }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }
  double contraction(const block& b) const {
    if (b.count == 0) return 1;
    const double kept = double(detail::share_of(ratio, b.count)) / double(b.count);
    return Scaled ? 2 - 1 / kept : kept;
  }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<T> wire) const {
    const T* const from = values.data();
    T* const out = wire.data();
    for_each_index(where, values.size(), wire.size(), [=](std::size_t i) { detail::prefetch_to_read(from + i); },
                   [=](std::size_t j, std::size_t i) { out[j] = from[i]; });
  }

  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const {
    const T factor = Scaled && !wire.empty() ? T(scale * T(double(values.size()) / double(wire.size()))) : scale;
    const T* const in = wire.data();
    T* const to = values.data();
    for_each_index(where, values.size(), wire.size(), [=](std::size_t i) { detail::prefetch_to_write(to + i); },
                   [=](std::size_t j, std::size_t i) { to[i] += factor * in[j]; });
  }

  // Calls f(j, index) for j < k; the same on all ranks.
  template <class F>
  static void for_each_index(const context& where, std::size_t n, std::size_t k, F&& f) {
    for_each_index(where, n, k, [](std::size_t) {}, f);
  }

  // The same, and calls soon(index) some 64 indices before f(j, index), for what takes its time to come.
  template <class Soon, class F>
  static void for_each_index(const context& where, std::size_t n, std::size_t k, Soon&& soon, F&& f) {
    if (k == 0) return;
    constexpr std::uint32_t shared = 4095;  // the last number of a rank's stream: every rank takes this one
    const random_stream stream(where.seed, purpose::compress, where.block * 4096 + shared, where.step);
    const detail::random_words words(stream);
    const std::size_t whole = n / k, longer = n % k;
    std::size_t at = stream.bits64(2) % n, carry = 0;  // the arc's first index; the first `longer` of each k carries are longer
    constexpr std::size_t ahead = 64;
    std::size_t indices[ahead];
    const auto next = [&](std::size_t j) {
      carry += longer;
      const std::size_t length = whole + (carry >= k);
      carry -= carry >= k ? k : 0;
      const std::size_t turned = at + std::size_t((std::uint64_t(words[std::uint32_t(j)]) * length) >> 32), i = turned < n ? turned : turned - n;
      at += length;
      at -= at >= n ? n : 0;
      soon(i);
      return i;
    };
    const std::size_t first = std::min(k, ahead);
    for (std::size_t j = 0; j < first; ++j) indices[j] = next(j);
    for (std::size_t j = 0; j + first < k; ++j) {
      const std::size_t i = indices[j % ahead];
      indices[j % ahead] = next(j + first);
      f(j, i);
    }
    for (std::size_t j = k - first; j < k; ++j) f(j, indices[j % ahead]);
  }

  std::string describe() const { return describe_members(Scaled ? "unbiased_random_k" : "random_k", "ratio", ratio); }
  friend bool operator==(const basic_random_k&, const basic_random_k&) = default;
};

using random_k = basic_random_k<false>;
using unbiased_random_k = basic_random_k<true>;

}  // namespace entrain::compress
