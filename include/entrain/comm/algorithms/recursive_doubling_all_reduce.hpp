// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/folding.hpp>

// Recursive doubling (the butterfly; Thakur, Rabenseifner, Gropp 2005): in step s ranks r and r xor 2^s exchange all they have and both combine it, the
// lower rank's operand left, so that all ranks get the same bits. Cost for p = 2^k: k steps of the whole operand, the fewest possible: for
// short messages. Other p fold (folding.hpp). Memory: one operand.
namespace entrain::comm::algorithms {

namespace recursive_doubling {
inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const region in = region::in(0, c.count), out = region::out(0, c.count), arriving = region::scratch(0, c.count);
  if (c.size == 1) return s.copy(in, out);
  const folding fold(c.size);
  region own = fold.write_in(s, c.rank, in, out, arriving);
  if (!fold.folded(c.rank))
    for (int bit = 1, i = fold.index(c.rank); bit < fold.core; bit *= 2) {
      const int peer = fold.rank(i ^ bit);
      s.receive(peer, arriving);
      s.send(peer, own);
      if (i & bit) s.combine(arriving, own, out);
      else s.combine(own, arriving, out);
      own = out;
    }
  fold.write_out(s, c.rank, out);
}

inline cost predict_all_reduce(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const folding fold(c.size);
  k.alphas = fold.steps() + (fold.extra > 0 ? 2 : 0);
  k.betas = k.alphas * double(c.count);
  k.gammas = (fold.steps() + (fold.extra > 0 ? 1 : 0)) * double(c.count);
  k.messages = fold.folded(c.rank) ? 1 : std::uint64_t(fold.steps()) + fold.paired(c.rank);
  k.elements = k.messages * c.count;
  return k;
}
}  // namespace recursive_doubling

inline constexpr algorithm recursive_doubling_all_reduce{collective::all_reduce, "recursive_doubling", true, recursive_doubling::write_all_reduce,
                                                         recursive_doubling::predict_all_reduce};

}  // namespace entrain::comm::algorithms
