// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>

// Any number of ranks for algorithms that want a power of two: p' = 2^floor(log2 p) ranks make the core; of the first 2 (p - p') ranks, each odd
// one gives its operand to its even neighbour and gets the result back (the other way round in the pair of the root). Neighbours
// fold, so that the operands stay in rank order. Extra cost: 2 messages of the whole operand, and one combination.
namespace entrain::comm::algorithms {

struct folding {
  int core = 1, extra = 0, root = 0;

  explicit constexpr folding(int size, int of_root = 0) : core(int(std::bit_floor(unsigned(size)))), extra(size - core), root(of_root) {}

  constexpr int steps() const { return int(std::bit_width(unsigned(core))) - 1; }
  constexpr bool paired(int rank) const { return rank < 2 * extra; }
  constexpr bool folded(int rank) const { return paired(rank) && rank != this->rank(rank / 2); }
  // Position of a rank of the core (or of the one it folds into), and back.
  constexpr int index(int rank) const { return paired(rank) ? rank / 2 : rank - extra; }
  constexpr int rank(int index) const {
    if (index >= extra) return index + extra;
    return 2 * index + (root == 2 * index + 1 ? 1 : 0);
  }

  // Combines the pair's operands; the folded rank has done its part (but for the result). Returns where this rank's operand is then.
  schedule::region write_in(schedule::program& s, int r, schedule::region own, schedule::region to, schedule::region arriving) const {
    if (!paired(r)) return own;
    if (folded(r)) return s.send(r ^ 1, own), own;
    s.receive(r ^ 1, arriving);
    if (r & 1) s.combine(arriving, own, to);
    else s.combine(own, arriving, to);
    return to;
  }
  void write_out(schedule::program& s, int r, schedule::region result) const {
    if (!paired(r)) return;
    s.next_round();
    if (folded(r)) s.receive(r ^ 1, result);
    else s.send(r ^ 1, result);
  }
};

}  // namespace entrain::comm::algorithms
