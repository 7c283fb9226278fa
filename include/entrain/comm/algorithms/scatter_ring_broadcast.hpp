// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/detail/scattered_broadcast.hpp>

// Scatter and all-gather (van de Geijn): a binomial scatter of p pieces, then a ring all-gather that leaves out what a rank has
// kept from its subtree, so that the root receives nothing. Cost: ceil(log2 p) + p - 1 steps, 2 (p - 1)/p of the operand on the
// longest path, for any number of ranks: for large operands. The data are `out` on every rank. No memory.
namespace entrain::comm::algorithms {

namespace scatter_ring {
inline void write_broadcast(schedule::program& s, const problem& c) {
  namespace sb = scattered_broadcast;
  const int p = c.size, v = sb::relative_rank(c);
  sb::write_scatter(s, c);
  const int left = sb::absolute_rank(c, v - 1), right = sb::absolute_rank(c, v + 1);
  const int to_receive = p - binomial_tree::subtree(v, p), to_send = p - binomial_tree::subtree(around(v + 1, p), p);
  for (int step = 0; step < p - 1; ++step) {
    const int arriving = around(v - step - 1, p), leaving = around(v - step, p);
    s.next_round();
    if (step < to_receive) s.receive(left, sb::pieces(c, arriving, arriving + 1));
    if (step < to_send) s.send(right, sb::pieces(c, leaving, leaving + 1));
  }
}

inline cost predict_broadcast(const problem& c) {
  namespace sb = scattered_broadcast;
  const int p = c.size;
  cost k;
  if (c.count == 0 || p == 1) return k;
  k = sb::predict_scatter(c);
  k.alphas += p - 1, k.betas += double(p - 1) * double(sb::pieces(c, 0, 1).count);
  const int next = around(sb::relative_rank(c) + 1, p), theirs = next + binomial_tree::subtree(next, p);  // to next: all but its subtree's
  k.messages += sb::messages(c, 0, p) - sb::messages(c, next, theirs);
  k.elements += c.count - sb::pieces(c, next, theirs).count;
  return k;
}
}  // namespace scatter_ring

inline constexpr algorithm scatter_ring_broadcast{collective::broadcast, "scatter_ring", true, scatter_ring::write_broadcast,
                                                  scatter_ring::predict_broadcast};

}  // namespace entrain::comm::algorithms
