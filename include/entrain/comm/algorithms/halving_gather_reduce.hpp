// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/folding.hpp>
#include <entrain/comm/algorithms/halving.hpp>
#include <entrain/comm/algorithms/rabenseifner_all_reduce.hpp>

// Reduction of long messages (Rabenseifner 2004): reduce-scatter by halving the operand as in rabenseifner_all_reduce.hpp, then a binomial gather: in
// each step of the mirror, of two ranks the one that agrees with the root gets the other's block. Cost for p = 2^k: 2 k steps, 2 (p - 1)/p of
// the operand and (p - 1)/p of it combined, where the binomial tree needs k of both; ranks other than the root send less than twice the operand.
// Other p fold (folding.hpp; the root never folds). Memory: one and a half operands (two, where ranks fold) where a rank is not the root.
// It wants at least one element a rank.
namespace entrain::comm::algorithms {

namespace halving_gather {
// The mirror's step in which a rank gives its block away (-1: the root does not): the highest bit in which it differs from the root.
constexpr int gives_in(int index, int root) { return int(std::bit_width(unsigned(index ^ root))) - 1; }

inline void write_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const folding fold(c.size, c.root);
  const region in = region::in(0, n), out = region::out(0, n);
  if (c.size == 1) return s.copy(in, out);
  const region arriving = region::scratch(0, fold.extra > 0 ? n : (n + 1) / 2);
  const region sums = c.rank == c.root ? out : region::scratch(arriving.count, n);
  const region own = fold.write_in(s, c.rank, in, sums, arriving);
  if (fold.folded(c.rank)) return;
  const auto hops = rabenseifner::butterfly(fold, c.rank);
  const auto path = halving::write_halving(s, fold.steps(), own, sums, arriving, hops);
  const int last = gives_in(fold.index(c.rank), fold.index(c.root));
  for (int k = fold.steps(); k-- > 0;) {
    const auto hop = hops(k);
    s.next_round();
    if (k == last) return s.send(hop.peer, path.blocks[std::size_t(k) + 1].of(sums));
    s.receive(hop.peer, path.blocks[std::size_t(k)].half(!hop.lower).of(sums));
  }
}

inline cost predict_reduce(const problem& c) {
  const folding fold(c.size, c.root);
  cost k;
  if (c.count == 0) return k;
  const double n = double(c.count), path = halving::longest_path(c.count, fold.steps());
  k.alphas = 2 * fold.steps(), k.betas = 2 * path, k.gammas = path;  // at most, where p' does not divide n
  if (fold.extra > 0) k.alphas += 1, k.betas += n, k.gammas += n;
  if (fold.folded(c.rank)) {
    k.messages = 1, k.elements = c.count;
    return k;
  }
  const auto hops = rabenseifner::butterfly(fold, c.rank);
  halving::count_sent(k, c.count, fold.steps(), false, hops);
  const int last = gives_in(fold.index(c.rank), fold.index(c.root));
  if (last < 0) return k;
  halving::block b{0, c.count};
  for (int i = 0; i <= last; ++i) b = b.half(hops(i).lower);
  k.messages += b.count > 0, k.elements += b.count;
  return k;
}
inline bool fits(const problem& c) { return c.count >= std::size_t(c.size); }
}  // namespace halving_gather

inline constexpr algorithm halving_gather_reduce{collective::reduce, "halving_gather", true, halving_gather::write_reduce, halving_gather::predict_reduce,
                                               halving_gather::fits};

}  // namespace entrain::comm::algorithms
