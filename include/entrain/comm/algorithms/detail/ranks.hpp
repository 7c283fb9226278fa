// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>

// Arithmetic of ranks that algorithms share: the circle, and the binomial tree.
namespace entrain::comm::algorithms {

// k on the circle of p ranks.
constexpr int around(int k, int p) {
  const int m = k % p;
  return m < 0 ? m + p : m;
}
constexpr int log2_ceil(int p) { return int(std::bit_width(unsigned(p - 1))); }
constexpr bool power_of_two(int p) { return std::has_single_bit(unsigned(p)); }

// The binomial tree over ranks counted from the root (v = 0). The subtree of v is [v, v + subtree(v, p)): neighbours.
namespace binomial_tree {
constexpr int lowest_bit(int v) { return v & -v; }
constexpr int parent(int v) { return v - lowest_bit(v); }
constexpr int subtree(int v, int p) { return v == 0 ? p : std::min(lowest_bit(v), p - v); }
// f(child), largest subtree first.
template <class F>
constexpr void for_children(int v, int p, F&& f) {
  for (int d = (v == 0 ? int(std::bit_ceil(unsigned(p))) : lowest_bit(v)) / 2; d > 0; d /= 2)
    if (v + d < p) f(v + d);
}
constexpr int children(int v, int p) {
  int n = 0;
  for_children(v, p, [&](int) { ++n; });
  return n;
}
}  // namespace binomial_tree

}  // namespace entrain::comm::algorithms
