// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>

// Recursive halving of the operand and its mirror, shared by Rabenseifner's algorithms and swing, which differ in who meets whom. In each step two
// ranks that hold the same block exchange halves of it: one keeps the lower half (the longer by one if the block is odd), the other the
// upper, combined; after k steps each of 2^k ranks has its block whole. The mirror doubles the blocks again.
namespace entrain::comm::algorithms::halving {

// What a rank does in a step: whom it meets, which half it keeps, and whether its operand stands left in the combination.
struct hop {
  int peer = 0;
  bool lower = true, left = true;
};

struct block {
  std::size_t first = 0, count = 0;

  constexpr block half(bool lower) const {
    const std::size_t longer = (count + 1) / 2;
    return lower ? block{first, longer} : block{first + longer, count - longer};
  }
  constexpr schedule::region of(schedule::region whole) const { return whole.part(first, count); }
};

// The blocks of a rank before each step, and the last.
struct path {
  std::array<block, 33> blocks{};
};

// The operand is `own` and stays; the sums go to `sums`. Returns the blocks for the mirror. hop_of(step) -> hop.
template <class Hop>
path write_halving(schedule::program& s, int steps, schedule::region own, schedule::region sums, schedule::region arriving, Hop&& hop_of) {
  path p;
  p.blocks[0] = {0, own.count};
  for (int k = 0; k < steps; ++k) {
    const hop h = hop_of(k);
    const block mine = p.blocks[std::size_t(k)].half(h.lower), theirs = p.blocks[std::size_t(k)].half(!h.lower);
    const schedule::region other = arriving.part(0, mine.count);
    s.receive(h.peer, other);
    s.send(h.peer, theirs.of(own));
    if (h.left) s.combine(mine.of(own), other, mine.of(sums));
    else s.combine(other, mine.of(own), mine.of(sums));
    own = sums;
    p.blocks[std::size_t(k) + 1] = mine;
  }
  return p;
}

template <class Hop>
void write_doubling(schedule::program& s, int steps, const path& p, schedule::region sums, Hop&& hop_of) {
  for (int k = steps; k-- > 0;) {
    const hop h = hop_of(k);
    s.next_round();
    s.receive(h.peer, p.blocks[std::size_t(k)].half(!h.lower).of(sums));
    s.send(h.peer, p.blocks[std::size_t(k) + 1].of(sums));
  }
}

// Elements sent one after the other in k steps of halving: of whoever always keeps the longer half.
inline double longest_path(std::size_t n, int steps) {
  double sum = 0;
  for (int k = 0; k < steps; ++k) sum += double(n = (n + 1) / 2);
  return sum;
}

// Messages and elements that a rank sends: in the halving, all but what it keeps; in the mirror, its blocks.
template <class Hop>
void count_sent(cost& k, std::size_t n, int steps, bool mirror, Hop&& hop_of) {
  block b{0, n};
  for (int i = 0; i < steps; ++i) {
    const bool lower = hop_of(i).lower;
    const std::size_t given = b.half(!lower).count;
    b = b.half(lower);
    k.messages += given > 0, k.elements += given;
    if (mirror) k.messages += b.count > 0, k.elements += b.count;
  }
}

}  // namespace entrain::comm::algorithms::halving
