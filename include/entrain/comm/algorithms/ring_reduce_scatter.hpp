// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Ring reduce-scatter (Patarasuk & Yuan 2009). In step s rank r passes the partial result of piece r - s - 1 on to r + 1 and
// adds its own operand to piece r - s - 2, which arrives; after p - 1 steps it has piece r whole. Cost: p - 1 steps of one
// piece. Memory: two pieces. Operands meet in ring order: the operation must commute.
namespace entrain::comm::algorithms {

namespace ring {
inline void write_reduce_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const auto own = [&](int k) { return region::in(n * std::size_t(around(k, p)), n); };
  const region result = region::out(0, n), arriving = region::scratch(0, n), partial = region::scratch(n, n);
  if (p == 1) return s.copy(own(0), result);
  for (int step = 0; step < p - 1; ++step) {
    s.receive(around(r - 1, p), arriving);
    s.send(around(r + 1, p), step == 0 ? own(r - 1) : partial);
    s.combine(arriving, own(r - step - 2), step == p - 2 ? result : partial);
  }
}

inline cost predict_reduce_scatter(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const auto steps = std::size_t(c.size - 1);
  k.alphas = double(steps), k.betas = k.gammas = double(steps) * double(c.count);
  k.messages = steps, k.elements = steps * c.count;
  return k;
}
}  // namespace ring

inline constexpr algorithm ring_reduce_scatter{collective::reduce_scatter, "ring", false, ring::write_reduce_scatter,
                                               ring::predict_reduce_scatter};

}  // namespace entrain::comm::algorithms
