// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Bruck all-gather (Bruck et al. 1997): at distance d = 1, 2, 4, ... rank r, which has the pieces of r, ..., r + d - 1, gets
// those of r + d, ... from rank r + d and sends its own to r - d. They are collected in scratch memory in that order and turned
// into place in the end. Cost: ceil(log2 p) steps, p - 1 pieces sent, for any number of ranks. Memory: p pieces.
namespace entrain::comm::algorithms {

namespace bruck {
// length(k): elements of rank k's piece.
template <class Length>
void write_gather_pieces(schedule::program& s, int p, int r, Length length) {
  using schedule::region;
  const auto elements = [&](int first, int pieces) {  // of neighbours on the circle
    std::size_t n = 0;
    for (int k = 0; k < pieces; ++k) n += length(around(first + k, p));
    return n;
  };
  const std::size_t offset = elements(0, r);
  const region own = region::in(0, length(r));
  std::size_t held = own.count;
  int collected = 1;  // pieces in scratch memory
  for (int d = 1; d < p; d *= 2) {
    const int m = std::min(d, p - d), from = around(r + d, p);
    const std::size_t n = elements(from, m);
    // The last ones can go straight into place unless the circle closes among them.
    const bool straight = d + m == p && from + m <= p;
    s.next_round();
    s.receive(from, straight ? region::out(from < r ? elements(0, from) : offset + held, n) : region::scratch(held, n));
    s.send(around(r - d, p), d == 1 ? own : region::scratch(0, m == d ? held : elements(r, m)));
    if (d == 1 && p > 2) s.copy(own, region::scratch(0, own.count));
    if (!straight) collected += m;
    held += n;
  }
  s.copy(own, region::out(offset, own.count));
  const int above = std::min(collected, p - r);
  const std::size_t first = elements(r, above);
  s.copy(region::scratch(own.count, first - own.count), region::out(offset + own.count, first - own.count));
  const std::size_t rest = elements(0, collected - above);
  s.copy(region::scratch(first, rest), region::out(0, rest));
}

inline void write_all_gather(schedule::program& s, const problem& c) {
  write_gather_pieces(s, c.size, c.rank, [&](int) { return c.count; });
}

inline cost predict_all_gather(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.messages = std::size_t(log2_ceil(c.size)), k.elements = std::size_t(c.size - 1) * c.count;
  k.alphas = double(k.messages), k.betas = double(k.elements);
  return k;
}
}  // namespace bruck

inline constexpr algorithm bruck_all_gather{collective::all_gather, "bruck", true, bruck::write_all_gather, bruck::predict_all_gather};

}  // namespace entrain::comm::algorithms
