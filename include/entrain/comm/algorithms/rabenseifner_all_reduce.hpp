// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/folding.hpp>
#include <entrain/comm/algorithms/halving.hpp>

// Rabenseifner's all-reduce (2004): reduce-scatter by halving the operand, all-gather by doubling it. The distance doubles in the first half (r and
// r xor 2^s meet in step s), so that always neighbouring groups meet and operands keep their order. Cost for p = 2^k: 2 k steps,
// 2 (p - 1)/p of the operand sent by every rank, the least possible, and (p - 1)/p of it combined. Other p fold (folding.hpp). Memory: half an
// operand (one, where ranks fold).
namespace entrain::comm::algorithms {

namespace rabenseifner {
// The butterfly: partners differ in bit k of their place in the core.
inline auto butterfly(const folding& fold, int rank) {
  return [fold, i = fold.index(rank)](int k) {
    const bool low = (i >> k & 1) == 0;
    return halving::hop{fold.rank(i ^ (1 << k)), low, low};
  };
}

inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const region in = region::in(0, c.count), out = region::out(0, c.count);
  if (c.size == 1) return s.copy(in, out);
  const folding fold(c.size);
  const region arriving = region::scratch(0, fold.extra > 0 ? c.count : (c.count + 1) / 2);
  const region own = fold.write_in(s, c.rank, in, out, arriving);
  if (!fold.folded(c.rank)) {
    const auto hops = butterfly(fold, c.rank);
    const auto path = halving::write_halving(s, fold.steps(), own, out, arriving, hops);
    halving::write_doubling(s, fold.steps(), path, out, hops);
  }
  fold.write_out(s, c.rank, out);
}

// Time of all algorithms that fold, halve and double: 2 log2 p' alphas and, where p' divides n, 2 (p' - 1)/p' n betas.
inline cost time_of_all_reduce(const problem& c, const folding& fold) {
  cost k;
  if (c.count == 0) return k;
  const double n = double(c.count), path = halving::longest_path(c.count, fold.steps());
  k.alphas = 2 * fold.steps(), k.betas = 2 * path, k.gammas = path;
  if (fold.extra > 0) k.alphas += 2, k.betas += 2 * n, k.gammas += n;
  if (fold.paired(c.rank)) k.messages = 1, k.elements = c.count;
  return k;
}
inline cost predict_all_reduce(const problem& c) {
  const folding fold(c.size);
  cost k = time_of_all_reduce(c, fold);
  if (!fold.folded(c.rank)) halving::count_sent(k, c.count, fold.steps(), true, butterfly(fold, c.rank));
  return k;
}
}  // namespace rabenseifner

inline constexpr algorithm rabenseifner_all_reduce{collective::all_reduce, "rabenseifner", true, rabenseifner::write_all_reduce,
                                                   rabenseifner::predict_all_reduce};

}  // namespace entrain::comm::algorithms
