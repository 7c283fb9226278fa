// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/philox.hpp>

// What the tests of sparsifiers share: inputs, one call of encode, and the plainest selection there is.

namespace sparse {

using namespace entrain;

template <class T>
std::vector<T> gaussian(std::size_t n, std::uint64_t seed) {
  const random_stream random(seed, purpose::user, 77);
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = T(random.normal(i));
  return x;
}

template <class T>
using entries = std::vector<compress::sparse_entry<T>>;

template <class T, class C, class State>
entries<T> encode(const C& c, State& state, const compress::context& where, std::vector<T> x) {
  entries<T> wire(c.template wire_count<T>(x.size()));
  wire.resize(compress::encoded(c, state, where, std::span<T>(x), std::span(wire)));
  return wire;
}

template <class T, class C>
entries<T> encode(const C& c, const compress::context& where, const std::vector<T>& x) {
  auto state = c.template make_state<T>(x.size());
  return encode(c, state, where, x);
}

// Indices by falling magnitude, ties to the lowest index.
template <class T>
std::vector<std::uint32_t> by_magnitude(const std::vector<T>& x) {
  std::vector<std::uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::abs(x[a]) > std::abs(x[b]); });
  return order;
}

inline std::vector<std::uint32_t> largest(const std::vector<double>& x, std::size_t k) {
  auto order = by_magnitude(x);
  order.resize(std::min(k, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

inline std::vector<std::uint32_t> at_least(const std::vector<double>& x, double threshold) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < x.size(); ++i)
    if (std::abs(x[i]) >= threshold && x[i] != 0) out.push_back(i);
  return out;
}

template <class T>
bool same(const entries<T>& wire, const std::vector<std::uint32_t>& indices, const std::vector<T>& x) {
  const auto is_entry = [&](const auto& e, std::uint32_t i) { return e.index == i && e.value == x[i]; };
  return std::equal(wire.begin(), wire.end(), indices.begin(), indices.end(), is_entry);
}

// Twenty steps with error feedback against `plain`, which names the indices to send of a vector in a step.
template <class C, class Plain>
bool same_for_twenty_steps(const C& with_feedback, std::size_t n, Plain&& plain) {
  auto state = with_feedback.template make_state<double>(n);
  std::vector<double> residual(n);
  for (std::uint64_t step = 0; step < 20; ++step) {
    const compress::context where{9, step, 3, 2};
    const auto g = gaussian<double>(n, 100 + step);
    for (std::size_t i = 0; i < n; ++i) residual[i] += g[i] * (1 + 0.1 * double(step));
    auto scaled = g;
    for (double& v : scaled) v *= 1 + 0.1 * double(step);
    const auto wire = encode(with_feedback, state, where, scaled);
    const std::vector<std::uint32_t> expected = plain(residual, where);
    if (!same(wire, expected, residual)) return false;
    for (const std::uint32_t i : expected) residual[i] = 0;
    if (!std::equal(residual.begin(), residual.end(), state.residual.begin())) return false;
  }
  return true;
}

}  // namespace sparse
