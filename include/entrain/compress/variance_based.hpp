// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/detail/scan.hpp>
#include <entrain/compress/detail/select.hpp>

// Variance-based sparsification (Wangni, Wang, Liu, Zhang, "Gradient sparsification for communication-efficient distributed
// optimization", NeurIPS 2018): value g_i travels with the chance p_i = min(1, |g_i| / tau), as g_i / p_i: unbiased, and of all
// chances with the same expected number of entries these have the least variance. tau is chosen so that sum p_i = ratio * n, by the
// paper's greedy algorithm: start with tau = sum |g| / (ratio n); then, `rounds` times, spread over the others what the
// values with p_i = 1 do not use.
//
// Payload: sparse, ascending, of variable length: 8 bytes in fp32 for each entry, in the mean at most k = ratio * n of them.
// E|q - g|^2 = sum g_i^2 (1/p_i - 1) = tau sum |g_i| - sum g_i^2 over the values below tau. Capacity: k + 8 sqrt(k) + 16 (or n): by
// Chernoff's bound exp(-d^2 / (2 k + 2 d / 3)) a draw has more entries with a chance below e^-32 = 1.3e-14. Then all is drawn again
// with other random words, which no more than that changes any mean. Memory: none. Cost: two passes, and one for each round.
//
// A chance is a multiple of 2^-31, so values below 2^-31 tau do not travel; a bias of that size and not more. Error feedback around it
// adds nothing: what is unbiased needs none.
//
// Related and not this: Tsuzuku, Imachi, Akiba, "Variance-based gradient compression for efficient distributed deep learning" (2018)
// send values whose mean is large compared with their variance over the samples of the batch, which takes per-sample gradients.

namespace entrain::compress {

struct variance_based {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool unbiased = true, variable = true;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.01;
  int rounds = 4;  // at most; it ends earlier where nothing is left to spread

  template <class T>
  std::size_t wire_count(std::size_t n) const {
    const double k = ratio * double(n);
    return std::min(n, std::size_t(std::ceil(k + 8 * std::sqrt(k))) + 16);
  }
  template <class T>
  no_state make_state(std::size_t) const { return {}; }

  template <class T>
  std::size_t encode(no_state&, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    const T tau = threshold_of(std::span<const T>(values));
    std::size_t count = 0;
    for (std::uint64_t draw = 0; draw == 0 || (count > wire.size() && draw < 16); ++draw)
      count = draw_entries(detail::random_words(where, draw), tau, std::span<const T>(values), wire);
    return std::min(count, wire.size());
  }

  template <class T>
  void decode_add(const context&, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    detail::add_entries(wire, values, scale);
  }

  // tau, rounded up, so that the chances never add to more than k, also where it is subnormal.
  template <class T>
  T threshold_of(std::span<const T> values) const {
    const double k = ratio * double(values.size());
    double tau = detail::sum_magnitudes(values.data(), values.size()) / k;
    for (int r = 0; r < rounds && tau > 0; ++r) {
      const auto [certain, rest] = split(values, T(tau));
      if (certain == 0 || double(certain) >= k) break;
      const double next = rest / (k - double(certain));
      if (!(next < tau)) break;
      tau = next;
    }
    constexpr T most = std::numeric_limits<T>::max();
    return tau < double(most) ? std::nextafter(T(tau), most) : most;
  }

  std::string describe() const { return describe_members("variance_based", "ratio", ratio, "rounds", rounds); }
  friend bool operator==(const variance_based&, const variance_based&) = default;

 private:
  struct parts {
    std::size_t certain;  // values that always travel
    double rest;          // sum of the other magnitudes
  };
  template <class T>
  static parts split(std::span<const T> values, T tau) {
    const T* x = values.data();
    const std::size_t n = values.size();
    const double rest = detail::sum_of(x, n, [t = double(tau)](double v) { return std::abs(v) < t ? std::abs(v) : 0.0; });
    std::size_t certain = 0;
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) certain += std::size_t(!(std::abs(x[i]) < tau));
    return {certain, rest};
  }

  // Returns how many were drawn; writes what there is room for.
  template <class T>
  static std::size_t draw_entries(const detail::random_words& words, T tau, std::span<const T> values, std::span<sparse_entry<T>> wire) {
    std::size_t count = 0;
    const auto drawn = [words, tau](T x, std::uint32_t i) {
      const T size = std::abs(x), capped = size < tau ? size : T(0);
      const auto chance = std::int32_t(float(capped / tau) * 0x1.fffffep30f);
      return bool(int(std::int32_t(words[i] >> 1) < chance) | int(!(size < tau)));
    };
    detail::scan(detail::in_memory<T>(values), drawn, [&](std::uint32_t i, T x) {
      if (count < wire.size()) wire[count] = {i, std::abs(x) < tau ? std::copysign(tau, x) : x};
      ++count;
    });
    return count;
  }
};

}  // namespace entrain::compress
