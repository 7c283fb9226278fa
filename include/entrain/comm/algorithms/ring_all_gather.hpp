// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Ring all-gather: in step s rank r passes the piece of rank r - s on to r + 1. Cost: p - 1 steps of one piece. No memory.
namespace entrain::comm::algorithms {

namespace ring {
// length(k): elements of rank k's piece.
template <class Length>
void write_gather_pieces(schedule::program& s, int p, int r, Length length) {
  using schedule::region;
  std::size_t offset = 0, total = 0;
  for (int k = 0; k < p; ++k) {
    if (k == r) offset = total;
    total += length(k);
  }
  const region own = region::in(0, length(r)), result = region::out(offset, length(r));
  region leaving = own;
  for (int step = 1, k = r; step < p; ++step) {
    offset = k == 0 ? total : offset;
    k = around(k - 1, p);
    offset -= length(k);
    const region arriving = region::out(offset, length(k));
    s.next_round();
    s.receive(around(r - 1, p), arriving);
    s.send(around(r + 1, p), leaving);
    leaving = arriving;
  }
  s.copy(own, result);  // last: nobody waits for it
}

inline void write_all_gather(schedule::program& s, const problem& c) {
  write_gather_pieces(s, c.size, c.rank, [&](int) { return c.count; });
}

inline cost predict_all_gather(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.messages = std::size_t(c.size - 1), k.elements = k.messages * c.count;
  k.alphas = double(k.messages), k.betas = double(k.elements);
  return k;
}
}  // namespace ring

inline constexpr algorithm ring_all_gather{collective::all_gather, "ring", true, ring::write_all_gather, ring::predict_all_gather};

}  // namespace entrain::comm::algorithms
