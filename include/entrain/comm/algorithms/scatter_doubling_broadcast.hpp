// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/detail/scattered_broadcast.hpp>

// Scatter and all-gather (van de Geijn) with recursive doubling: a binomial scatter of p pieces, then ranks 1, 2, 4, ... apart
// exchange what they have, unless the receiver has it from the scatter (the root receives nothing). Cost for p = 2^k, the only
// p it takes: 2k steps, 2 (p - 1)/p of the operand on the longest path. The data are `out` on every rank. No memory.
namespace entrain::comm::algorithms {

namespace scatter_doubling {
// f(partner, first piece that this rank sends, first that it receives, how many, sends, receives), counted from the root.
template <class F>
void for_exchanges(int v, int p, F&& f) {
  for (int held = 1; held < p; held *= 2) {
    const int partner = v ^ held, mine = v & ~(held - 1), theirs = mine ^ held;
    // A rank that is the head of both groups' subtree has scattered the upper group's pieces.
    f(partner, mine, theirs, held, partner % (2 * held) != 0, v % (2 * held) != 0);
  }
}

inline void write_broadcast(schedule::program& s, const problem& c) {
  namespace sb = scattered_broadcast;
  sb::write_scatter(s, c);
  for_exchanges(sb::relative_rank(c), c.size, [&](int partner, int mine, int theirs, int held, bool sends, bool receives) {
    s.next_round();
    if (receives) s.receive(sb::absolute_rank(c, partner), sb::pieces(c, theirs, theirs + held));
    if (sends) s.send(sb::absolute_rank(c, partner), sb::pieces(c, mine, mine + held));
  });
}

inline cost predict_broadcast(const problem& c) {
  namespace sb = scattered_broadcast;
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  k = sb::predict_scatter(c);
  for (int held = 1; held < c.size; held *= 2) k.alphas += 1, k.betas += double(sb::pieces(c, 0, held).count);
  for_exchanges(sb::relative_rank(c), c.size, [&](int, int mine, int, int held, bool sends, bool) {
    const std::size_t n = sends ? sb::pieces(c, mine, mine + held).count : 0;
    k.messages += n > 0, k.elements += n;
  });
  return k;
}
inline bool fits(const problem& c) { return power_of_two(c.size); }
}  // namespace scatter_doubling

inline constexpr algorithm scatter_doubling_broadcast{collective::broadcast, "scatter_doubling", true, scatter_doubling::write_broadcast,
                                                      scatter_doubling::predict_broadcast, scatter_doubling::fits};

}  // namespace entrain::comm::algorithms
