// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Dissemination barrier (Hensgen, Finkel, Manber 1988): at distance d = 1, 2, 4, ... rank r tells r + d and hears from r - d.
// Any number of ranks. Cost: ceil(log2 p) steps, one message of one element (width 1) a rank and step.
namespace entrain::comm::algorithms {

namespace dissemination {
inline void write_barrier(schedule::program& s, const problem& c) {
  using schedule::region;
  for (int d = 1; d < c.size; d *= 2) {
    s.next_round();
    s.receive(around(c.rank - d, c.size), region::scratch(1, 1));
    s.send(around(c.rank + d, c.size), region::scratch(0, 1));
  }
}

inline cost predict_barrier(const problem& c) {
  cost k;
  k.messages = k.elements = std::size_t(log2_ceil(c.size));
  k.alphas = k.betas = double(k.messages);
  return k;
}
}  // namespace dissemination

inline constexpr algorithm dissemination_barrier{collective::barrier, "dissemination", true, dissemination::write_barrier,
                                                 dissemination::predict_barrier};

}  // namespace entrain::comm::algorithms
