// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/folded_pieces.hpp>

// Recursive doubling: ranks that are 1, 2, 4, ... apart exchange all that they have. Cost for p = 2^k: k steps, p - 1 pieces
// sent. Otherwise the group is folded onto a power of two: two more steps, p + 1 more pieces (bruck_all_gather.hpp does
// without). No memory.
namespace entrain::comm::algorithms {

namespace recursive_doubling {
inline void write_all_gather(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const folding fold(p);
  const auto pieces = [n](int first, int last) { return region::out(n * std::size_t(first), n * std::size_t(last - first)); };
  if (fold.folded(r)) {
    s.send(r - 1, region::in(0, n));
    s.next_round();
    return s.receive(r - 1, pieces(0, p));
  }
  s.copy(region::in(0, n), pieces(r, r + 1));
  if (fold.paired(r)) s.receive(r + 1, pieces(r + 1, r + 2));
  const int me = fold.index(r);
  for (int held = 1; held < fold.core; held *= 2) {
    const int mine = me & ~(held - 1), theirs = mine ^ held, partner = fold.rank(me ^ held);
    s.next_round();
    s.receive(partner, pieces(first_piece(fold, theirs), first_piece(fold, theirs + held)));
    s.send(partner, pieces(first_piece(fold, mine), first_piece(fold, mine + held)));
  }
  s.next_round();
  if (fold.paired(r)) s.send(r + 1, pieces(0, p));
}

inline cost predict_all_gather(const problem& c) {
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  const folding fold(c.size);
  const double n = double(c.count);
  for (int held = 1; held < fold.core; held *= 2) k.alphas += 1, k.betas += n * first_piece(fold, held);  // the lowest ranks stand for most
  if (fold.extra > 0) k.alphas += 2, k.betas += n * (c.size + 1);
  if (fold.folded(c.rank)) {
    k.messages = 1, k.elements = c.count;
    return k;
  }
  const int me = fold.index(c.rank);
  for (int held = 1; held < fold.core; held *= 2) {
    const int mine = me & ~(held - 1);
    ++k.messages, k.elements += c.count * std::size_t(first_piece(fold, mine + held) - first_piece(fold, mine));
  }
  if (fold.paired(c.rank)) ++k.messages, k.elements += c.count * std::size_t(c.size);
  return k;
}
}  // namespace recursive_doubling

inline constexpr algorithm recursive_doubling_all_gather{collective::all_gather, "recursive_doubling", true,
                                                         recursive_doubling::write_all_gather, recursive_doubling::predict_all_gather};

}  // namespace entrain::comm::algorithms
