// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/core/batch.hpp>

// Ring all-reduce (Patarasuk & Yuan 2009). The operand is cut into p nearly equal pieces. In step s of the first half rank r
// passes the partial sum of piece r - s on to r + 1 and adds its own operand to piece r - s - 1, which arrives; after p - 1 steps it has
// piece r + 1 whole, and the second half passes the whole pieces round. Cost: 2 (p - 1) steps, 2 (p - 1)/p of the operand sent
// by every rank: the least possible. Memory: one piece. Operands meet in ring order: the operation must commute.
namespace entrain::comm::algorithms {

namespace ring {
inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const auto p = std::size_t(c.size);
  const auto piece = [&](int k) {
    const auto part = nth_part(c.count, std::size_t((k % c.size + c.size) % c.size), p);
    return region::out(part.first, part.count);
  };
  const auto own = [&](int k) { return region::in(piece(k).offset, piece(k).count); };
  if (c.size == 1) return s.copy(own(0), piece(0));
  const int r = c.rank, right = (r + 1) % c.size, left = (r + c.size - 1) % c.size;
  for (int step = 0; step < c.size - 1; ++step) {
    const region arriving = region::scratch(0, piece(r - step - 1).count);
    s.receive(left, arriving);
    s.send(right, step == 0 ? own(r) : piece(r - step));
    s.combine(arriving, own(r - step - 1), piece(r - step - 1));
  }
  for (int step = 0; step < c.size - 1; ++step) {
    s.next_round();
    s.receive(left, piece(r - step));
    s.send(right, piece(r - step + 1));
  }
}

// Pieces that are empty are not sent; the longest has ceil(n / p) elements.
inline cost predict_all_reduce(const problem& c) {
  cost k;
  const auto p = std::size_t(c.size);
  if (c.size == 1) return k;
  const std::size_t longest = nth_part(c.count, 0, p).count;
  k.alphas = c.count == 0 ? 0 : 2.0 * (c.size - 1), k.betas = 2.0 * double(c.size - 1) * double(longest);
  k.gammas = double(c.size - 1) * double(longest);
  // Sent first: every piece but r + 1; then every piece but r + 2.
  const auto length = [&](int offset) { return nth_part(c.count, std::size_t((c.rank + offset) % c.size), p).count; };
  k.elements = 2 * c.count - length(1) - length(2);
  k.messages = 2 * (c.count < p ? c.count : p) - (length(1) > 0) - (length(2) > 0);
  return k;
}
}  // namespace ring

inline constexpr algorithm ring_all_reduce{collective::all_reduce, "ring", false, ring::write_all_reduce, ring::predict_all_reduce};

}  // namespace entrain::comm::algorithms
