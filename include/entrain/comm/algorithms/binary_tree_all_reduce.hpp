// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/pipelined_trees.hpp>
#include <entrain/core/batch.hpp>

// All-reduce over one binary tree, in S segments (comm/algorithms/detail/pipelined_trees.hpp): sums go up to the root and results come down at
// the same time, in rank order. Cost: depth D = floor(log2 p); 4 D + 3 (S - 1) messages one after the other, of n / S elements; a rank sends
// its operand at most three times: once up, twice down. double_binary_tree_all_reduce.hpp spreads that evenly. Memory: two segments. The closed form
// of the time is that of well filled trees: it is up to a quarter off elsewhere.
namespace entrain::comm::algorithms {

namespace binary_tree {
// Messages one after the other: of the first segment, and for each further one.
struct path {
  double fill = 0, busy = 3;

  explicit path(int p) {
    const int d = trees::depth_of(trees::layout::odd_inner, p);
    fill = 4.0 * d;
    if (p == 2) fill = 2, busy = 1;
    if (p == 3) busy = 2;
  }
};
inline std::size_t segments(const problem& c) { return trees::segments(c.count, c.width, path(c.size).fill, path(c.size).busy); }

inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  if (c.size == 1) return s.copy(region::in(0, c.count), region::out(0, c.count));
  const trees::walk tree(c, {trees::layout::odd_inner, 0, c.count}, segments(c), 0);
  for (long round = 0; round <= tree.rounds(); ++round) {
    s.next_round();
    tree.messages(s, round);
    tree.work(s, round);
  }
}
inline cost predict_all_reduce(const problem& c) {
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  const std::size_t pieces = segments(c);
  const path of(c.size);
  const double longest = double(nth_part(c.count, 0, pieces).count), further = double(pieces - 1);
  const bool one_child = c.size > 2 && std::has_single_bit(unsigned(c.size));  // of the root
  const bool complete = std::has_single_bit(unsigned(c.size) + 1);
  k.alphas = of.fill + of.busy * further - (c.size > 2 && !complete && pieces == 1 ? 2 : 0);
  k.betas = k.alphas * longest;
  k.gammas = (of.fill / 2 - one_child + std::min(of.busy, 2.0) * further) * longest;
  trees::walk(c, {trees::layout::odd_inner, 0, c.count}, pieces, 0).count_sent(k);
  return k;
}
}  // namespace binary_tree

inline constexpr algorithm binary_tree_all_reduce{collective::all_reduce, "binary_tree", true, binary_tree::write_all_reduce, binary_tree::predict_all_reduce};

}  // namespace entrain::comm::algorithms
