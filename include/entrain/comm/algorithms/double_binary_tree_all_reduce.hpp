// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/pipelined_trees.hpp>
#include <entrain/core/batch.hpp>

// All-reduce over two binary trees (Sanders, Speck, Traeff 2009), half of the operand over each, in S segments
// (comm/algorithms/detail/pipelined_trees.hpp). The leaves of one tree are the inner nodes of the other, so that every rank sends about as much:
// at most twice its operand, in depth floor(log2 p) or one more. For many ranks and messages of middle size: a logarithm of messages as in a
// tree, and close to the bandwidth of a ring. Operands meet in rank order. Memory: four segments. The time is a fit to what the examiner gives (a round
// of both trees takes 4 to 5 messages one after the other); it is up to a quarter off.
// It wants at least two elements.
namespace entrain::comm::algorithms {

namespace double_binary_tree {
struct shape {
  trees::use first, second;
  std::size_t pieces = 1;
  double fill = 0, busy = 4.5;  // messages one after the other: of the first segments, and for each further pair of them

  explicit shape(const problem& c) {
    const part low = nth_part(c.count, 0, 2), high = nth_part(c.count, 1, 2);
    first = {trees::layout::odd_inner, low.first, low.count}, second = {trees::even_inner(c.size), high.first, high.count};
    const int p = c.size;
    const bool one_child = p % 2 == 1 || std::has_single_bit(unsigned(p));  // of the deeper tree's root
    fill = 4.0 * trees::depth_of(second.how, p) - (one_child ? 2 : 0);
    if (p < 4) busy = p == 2 ? 2 : 4;
    pieces = trees::segments(low.count, c.width, fill, busy);
  }
  std::size_t longest() const { return nth_part(first.count, 0, pieces).count; }
};

inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  if (c.size == 1) return s.copy(region::in(0, c.count), region::out(0, c.count));
  const shape of(c);
  const trees::walk a(c, of.first, of.pieces, 0), b(c, of.second, of.pieces, 2 * of.longest());
  for (long round = 0, last = std::max(a.rounds(), b.rounds()); round <= last; ++round) {
    s.next_round();
    a.messages(s, round), b.messages(s, round);
    a.work(s, round), b.work(s, round);
  }
}
inline cost predict_all_reduce(const problem& c) {
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  const shape of(c);
  const double longest = double(of.longest()), further = double(of.pieces - 1);
  k.alphas = of.fill + of.busy * further;
  k.betas = k.alphas * longest;
  k.gammas = (of.fill / 2 + std::min(of.busy, 2.0) * further) * longest;
  trees::walk(c, of.first, of.pieces, 0).count_sent(k);
  trees::walk(c, of.second, of.pieces, 0).count_sent(k);
  return k;
}
inline bool fits(const problem& c) { return c.count >= 2; }
}  // namespace double_binary_tree

inline constexpr algorithm double_binary_tree_all_reduce{collective::all_reduce, "double_binary_tree", true, double_binary_tree::write_all_reduce,
                                                         double_binary_tree::predict_all_reduce, double_binary_tree::fits};

}  // namespace entrain::comm::algorithms
