// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <entrain/testing/detail/compressor_probe.hpp>

// Laws of compressors that hold on average. Each is a test of a mean against the stated one, at a level such that all of them
// together reject a compressor that keeps the law with a chance below `false_alarm` (Bonferroni over elements and directions).
//
// The allowance is Bernstein's, z sqrt(V / R) + z^2 B / (3 R) with z^2 = 2 ln(2 m / false_alarm) for m means of R draws: V is
// the variance and B the largest deviation, both as observed. Rare events (an element of a hundred that is sent a hundredfold)
// deviate too far for a normal approximation; of them the pooled V and B know, even where the element itself was never hit.

namespace entrain::testing::detail {

inline constexpr double false_alarm = 1e-6;
inline double level(std::size_t means) { return std::sqrt(2 * std::log(2 * double(means) / false_alarm)); }

struct sampled_mean {
  double sum = 0, squares = 0, farthest = 0;
  std::size_t draws = 0;
  void add(double x) { sum += x, squares += x * x, farthest = std::max(farthest, std::abs(x)), ++draws; }
  double mean() const { return sum / double(draws); }
  double variance() const { return std::max(0.0, squares / double(draws) - mean() * mean()); }
  double allowance(double z, double least_variance = 0, double least_farthest = 0) const {
    return z * std::sqrt(std::max(variance(), least_variance) / double(draws)) + z * z * std::max(farthest, least_farthest) / (3 * double(draws));
  }
};

// Whether the mean is the input may depend on hyper-parameters (a clipping threshold): then `bool keeps_mean() const` says so.
template <class C>
bool keeps_mean(const C& c) {
  if constexpr (requires { { c.keeps_mean() } -> std::same_as<bool>; }) return c.keeps_mean();
  else return compress::is_unbiased<C>;
}

// unbiased: the mean over seeds is the input, element by element and along eight directions, in which a small common bias
// (of the scale, of all signs) shows that no single element could show.
template <class T, class C>
void check_unbiased(const C& c, const compress::block& b, std::size_t draws) {
  if constexpr (compress::is_unbiased<C>) {
    if (!keeps_mean(c)) return;
    const std::size_t n = b.count, directions = 8;
    const auto x = gaussian<T>(n, 3);
    std::vector<std::vector<double>> along(directions, std::vector<double>(n));
    for (std::size_t i = 0; i < n; ++i) along[0][i] = double(x[i]), along[1][i] = 1, along[2][i] = x[i] > T(0) ? 1 : -1;
    for (std::size_t d = 3; d < directions; ++d) along[d] = gaussian<double>(n, std::uint32_t(50 + d));
    std::vector<sampled_mean> elements(n), sums(directions);
    for (std::size_t r = 0; r < draws; ++r) {
      const auto y = decoded<T>(c, key_of(b, 11 + r), x, b);
      for (std::size_t i = 0; i < n; ++i) elements[i].add(double(y[i]) - double(x[i]));
      for (std::size_t d = 0; d < directions; ++d) {
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) sum += along[d][i] * (double(y[i]) - double(x[i]));
        sums[d].add(sum);
      }
    }
    const double z = level(n + directions), rounding = sizeof(T) == 4 ? 1e-6 : 1e-12;
    double variance = 0, farthest = 0;
    for (const auto& e : elements) variance += e.variance() / double(n), farthest = std::max(farthest, e.farthest);
    for (std::size_t i = 0; i < n; ++i)
      require(std::abs(elements[i].mean()) <= elements[i].allowance(z, variance, farthest) + rounding * (1 + std::abs(double(x[i]))),
              named("unbiased", b) + " at element " + std::to_string(i), shown(x[i]), shown(double(x[i]) + elements[i].mean()));
    for (std::size_t d = 0; d < directions; ++d)
      require(std::abs(sums[d].mean()) <= sums[d].allowance(z) + rounding * double(n), named("unbiased", b) + " along direction " + std::to_string(d),
              "0 +- " + shown(sums[d].allowance(z)), shown(sums[d].mean()));
  }
}

// The errors of other steps, blocks and ranks are no copies of each other: errors that agree would not average out. Methods whose
// ranks must draw alike say `shared_seed`.
template <class T, class C>
void check_independent(const C& c, const compress::block& b, std::size_t draws) {
  if constexpr (compress::is_unbiased<C>) {
    if (!keeps_mean(c)) return;
    const auto x = gaussian<T>(b.count, 6);
    const auto error_of = [&](const compress::context& key) {
      auto y = decoded<T>(c, key, x, b);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] -= x[i];
      return y;
    };
    const std::array<std::string, 3> between{"steps", "blocks", "ranks"};
    std::array<sampled_mean, 3> products;
    for (std::size_t r = 0; r < draws; ++r) {
      const std::uint64_t seed = 900 + r;
      const auto here = error_of(key_of(b, seed));
      const std::array<std::vector<T>, 3> there{error_of(key_of(b, seed, 6)), error_of(key_of(b, seed, 5, 0, 2)), error_of(key_of(b, seed, 5, 1))};
      for (std::size_t k = 0; k < 3; ++k) {
        double product = 0;
        for (std::size_t i = 0; i < x.size(); ++i) product += double(here[i]) * double(there[k][i]);
        products[k].add(product);
      }
    }
    for (std::size_t k = 0; k < (has_shared_seed<C> ? 2 : 3); ++k)
      require(std::abs(products[k].mean()) <= products[k].allowance(level(3)) + 1e-12 * squared_norm(x), named("uncorrelated errors of different " + between[k], b),
              "0 +- " + shown(products[k].allowance(level(3))), shown(products[k].mean()));
  }
}

// E |x - decode(encode(x))|^2 <= (1 - contraction(block)) |x|^2: 1000 vectors, Gaussian, heavy-tailed and sparse. Of a compressor
// whose result does not depend on the seed each must hold; else their mean must, kind by kind, and twelve vectors' means.
template <class T, class C>
void check_contraction(const C& c, const compress::block& b, std::uint32_t vectors) {
  if constexpr (states_contraction<C>) {
    const double limit = 1 - double(c.contraction(b)), rounding = 1e-6;
    require(limit >= -rounding, named("contraction: delta is at most 1", b), "at most 1", shown(1 - limit));
    const auto share = [&](const std::vector<T>& x, std::uint64_t seed) { return squared_error(x, decoded<T>(c, key_of(b, seed), x, b)) / squared_norm(x); };
    const auto usable = [](const std::vector<T>& x) { return squared_norm(x) > 0; };
    bool random = false;
    std::array<sampled_mean, 3> kinds;
    std::array<sampled_mean, 12> single;
    for (std::uint32_t v = 0; v < vectors; ++v) {
      const auto x = random_input<T>(b.count, 1000 + v);
      if (!usable(x)) continue;
      const double first = share(x, 100 + v);
      kinds[v % 3].add(first - limit);
      if (v < single.size()) {
        for (std::uint64_t seed = 0; seed < 200; ++seed) {
          single[v].add(share(x, seed) - limit);
          if (seed == 9 && single[v].variance() < 1e-24) break;  // no random numbers: the rest is the same
        }
        random = random || single[v].variance() > 1e-24;
      }
      if (!random) require(first <= limit + rounding, named("stated contraction", b) + " for vector " + std::to_string(v), "at most " + shown(limit), shown(first));
    }
    const double z = level(kinds.size() + single.size());
    const auto holds = [&](const sampled_mean& m) { return m.draws == 0 || m.mean() <= m.allowance(z) + rounding; };
    for (const auto& m : kinds) require(holds(m), named("stated contraction", b) + " in the mean of vectors", "at most " + shown(limit), shown(limit + m.mean()));
    for (const auto& m : single) require(holds(m), named("stated contraction", b) + " in the mean of seeds", "at most " + shown(limit), shown(limit + m.mean()));
  }
}

}  // namespace entrain::testing::detail
