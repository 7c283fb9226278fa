// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/ring_all_gather.hpp>

// Ring all-gather of pieces of different size. Cost: p - 1 steps of the largest piece, which goes all the way round; each
// rank sends all pieces but the next one's. No memory.
namespace entrain::comm::algorithms {

namespace ring {
inline void write_all_gather_v(schedule::program& s, const problem& c) {
  write_gather_pieces(s, c.size, c.rank, [&](int k) { return c.counts[std::size_t(k)]; });
}

inline cost predict_all_gather_v(const problem& c) {
  cost k;
  if (c.size == 1) return k;
  std::size_t longest = 0;
  const int next = around(c.rank + 1, c.size);
  for (int j = 0; j < c.size; ++j) {
    const std::size_t n = c.counts[std::size_t(j)];
    longest = std::max(longest, n);
    if (j != next) k.messages += n > 0, k.elements += n;
  }
  if (longest > 0) k.alphas = c.size - 1;
  k.betas = double(c.size - 1) * double(longest);
  return k;
}
}  // namespace ring

inline constexpr algorithm ring_all_gather_v{collective::all_gather_v, "ring", true, ring::write_all_gather_v, ring::predict_all_gather_v};

}  // namespace entrain::comm::algorithms
