// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/folding.hpp>
#include <entrain/comm/algorithms/halving.hpp>
#include <entrain/comm/algorithms/rabenseifner_all_reduce.hpp>

// Swing (De Sensi et al. 2024), the form that sends least: halving and doubling as in Rabenseifner's algorithm, with partners that stay closer on a
// ring or torus. In step k even ranks meet r + rho_k and odd ones r - rho_k, rho_k = (1 - (-2)^(k+1)) / 3 = 1, -1, 3, -5, 11, ...: distances
// 1, 1, 3, 5, 11, 21 instead of 1, 2, 4, 8, 16, 32. Cost as Rabenseifner's where every pair of ranks is equally far. Operands do
// not meet in rank order: the operation must commute. Other p than powers of two fold (folding.hpp).
//
// Which half a rank keeps. The ranks reached from r in steps k, k+1, ... are those that share r's block before step k: the even ones are
// r (or the even one it would meet) plus multiples of 2^(k+1), the odd ones rho_k further. So the residue of the even ones mod
// 2^(k+2) tells the two classes apart into which step k splits that set, and the last step splits an even from an odd rank.
namespace entrain::comm::algorithms {

namespace swing {
constexpr int rho(int k) { return (1 - (k % 2 == 0 ? -(2 << k) : 2 << k)) / 3; }

inline auto hops(const folding& fold, int rank) {
  return [fold, i = fold.index(rank)](int k) {
    const int mask = fold.core - 1;
    const bool even = i % 2 == 0;
    const int peer = (even ? i + rho(k) : i - rho(k)) & mask;
    const bool last = k + 1 == fold.steps();
    const int residue = even ? i : i - rho(k + 1);
    const bool lower = last ? even : (residue >> (k + 1) & 1) == 0;
    return halving::hop{fold.rank(peer), lower, i < peer};
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
    const auto meets = hops(fold, c.rank);
    const auto path = halving::write_halving(s, fold.steps(), own, out, arriving, meets);
    halving::write_doubling(s, fold.steps(), path, out, meets);
  }
  fold.write_out(s, c.rank, out);
}

inline cost predict_all_reduce(const problem& c) {
  const folding fold(c.size);
  cost k = rabenseifner::time_of_all_reduce(c, fold);
  if (!fold.folded(c.rank)) halving::count_sent(k, c.count, fold.steps(), true, hops(fold, c.rank));
  return k;
}
}  // namespace swing

inline constexpr algorithm swing_all_reduce{collective::all_reduce, "swing", false, swing::write_all_reduce, swing::predict_all_reduce};

}  // namespace entrain::comm::algorithms
