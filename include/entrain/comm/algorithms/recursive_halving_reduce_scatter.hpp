// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/folded_pieces.hpp>

// Recursive halving (the first half of Rabenseifner 2004). Ranks that are half the group apart exchange halves of their
// partial results: each keeps the half with its own piece. Cost for p = 2^k: k steps, p - 1 pieces sent and combined.
// Otherwise the group is folded onto a power of two: two more steps, p + 1 more pieces (circulant_reduce_scatter.hpp
// does without). Memory: 3/4 p pieces (3/2 p when folded). The operation must commute.
namespace entrain::comm::algorithms {

namespace recursive_halving {
inline void write_reduce_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const folding fold(p);
  const region result = region::out(0, n), all = region::in(0, n * std::size_t(p));
  if (p == 1) return s.copy(all, result);
  if (fold.folded(r)) {
    s.send(r - 1, all);
    s.next_round();
    return s.receive(r - 1, result);
  }
  // The partial results of pieces [base, ...) lie in `partial`, what arrives behind them.
  region partial = all;
  int base = 0, lo = 0, hi = fold.core;
  const int me = fold.index(r);
  const bool two = fold.paired(r);
  std::size_t used = 0;
  if (two) {
    partial = region::scratch(0, all.count), used = all.count;
    s.receive(r + 1, partial);
    s.combine(all, partial, partial);
  }
  const auto pieces = [&](int from, int to) {
    const auto first = std::size_t(first_piece(fold, from) - base);
    return partial.part(n * first, n * (std::size_t(first_piece(fold, to) - base) - first));
  };
  while (hi - lo > 1) {
    const int mid = lo + (hi - lo) / 2, partner = fold.rank(me ^ (mid - lo));
    const region below = pieces(lo, mid), above = pieces(mid, hi), kept = me < mid ? below : above;
    const region arriving = region::scratch(used, kept.count);
    s.receive(partner, arriving);
    s.send(partner, me < mid ? above : below);
    (me < mid ? hi : lo) = mid;
    // The input is not written: the first sums of an unfolded rank stay where they have arrived.
    const region sums = partial.where == schedule::place::in ? arriving : kept;
    const region to = hi - lo == 1 && !two ? result : sums;
    if (me < mid) s.combine(kept, arriving, to);
    else s.combine(arriving, kept, to);
    if (partial.where == schedule::place::in) used = arriving.count;
    partial = sums, base = first_piece(fold, lo);
  }
  if (two) {
    s.send(r + 1, partial.part(n, n));
    s.copy(partial.part(0, n), result);
  }
}

inline cost predict_reduce_scatter(const problem& c) {
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  const folding fold(c.size);
  const double n = double(c.count);
  for (int half = fold.core / 2; half > 0; half /= 2) k.alphas += 1, k.betas += n * first_piece(fold, half);  // the lowest ranks keep most
  if (fold.extra > 0) k.alphas += 1, k.betas += n * c.size;
  k.gammas = k.betas;
  if (fold.extra > 0) k.alphas += 1, k.betas += n;
  if (fold.folded(c.rank)) {
    k.messages = 1, k.elements = c.count * std::size_t(c.size);
    return k;
  }
  const int me = fold.index(c.rank);
  for (int half = fold.core / 2; half > 0; half /= 2) {
    const int theirs = (me ^ half) & ~(half - 1);
    ++k.messages, k.elements += c.count * std::size_t(first_piece(fold, theirs + half) - first_piece(fold, theirs));
  }
  if (fold.paired(c.rank)) ++k.messages, k.elements += c.count;
  return k;
}
}  // namespace recursive_halving

inline constexpr algorithm recursive_halving_reduce_scatter{
    collective::reduce_scatter, "recursive_halving", false, recursive_halving::write_reduce_scatter,
    recursive_halving::predict_reduce_scatter};

}  // namespace entrain::comm::algorithms
