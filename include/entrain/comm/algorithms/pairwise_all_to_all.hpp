// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Pairwise all-to-all: in step s rank r sends to r + s and receives from r - s, each piece straight to its place. Cost: p - 1
// steps of one piece. No memory.
namespace entrain::comm::algorithms {

namespace pairwise {
inline void write_all_to_all(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const auto at = [n](int k) { return n * std::size_t(k); };
  for (int step = 1; step < c.size; ++step) {
    const int to = around(c.rank + step, c.size), from = around(c.rank - step, c.size);
    s.next_round();
    s.receive(from, region::out(at(from), n));
    s.send(to, region::in(at(to), n));
  }
  s.copy(region::in(at(c.rank), n), region::out(at(c.rank), n));
}

inline cost predict_all_to_all(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.messages = std::size_t(c.size - 1), k.elements = k.messages * c.count;
  k.alphas = double(k.messages), k.betas = double(k.elements);
  return k;
}
}  // namespace pairwise

inline constexpr algorithm pairwise_all_to_all{collective::all_to_all, "pairwise", true, pairwise::write_all_to_all,
                                               pairwise::predict_all_to_all};

}  // namespace entrain::comm::algorithms
