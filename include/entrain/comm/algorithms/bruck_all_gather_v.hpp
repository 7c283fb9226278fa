// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/bruck_all_gather.hpp>

// Bruck all-gather of pieces of different size. Cost: ceil(log2 p) steps; a step takes as long as its largest message, so the
// predicted time is an upper bound (exact for equal pieces). Memory: the result once more.
namespace entrain::comm::algorithms {

namespace bruck {
inline void write_all_gather_v(schedule::program& s, const problem& c) {
  write_gather_pieces(s, c.size, c.rank, [&](int k) { return c.counts[std::size_t(k)]; });
}

inline cost predict_all_gather_v(const problem& c) {
  cost k;
  const int p = c.size;
  const auto count = [&](int j) { return c.counts[std::size_t(around(j, p))]; };
  for (int d = 1; d < p; d *= 2) {
    const int m = std::min(d, p - d);
    std::size_t message = 0, longest = 0;  // of the rank looked at: m pieces from its own on
    for (int j = 0; j < m; ++j) message += count(j);
    for (int j = 0; j < p; ++j) {
      longest = std::max(longest, message);
      if (j == c.rank) k.messages += message > 0, k.elements += message;
      message += count(j + m), message -= count(j);
    }
    k.alphas += longest > 0, k.betas += double(longest);
  }
  return k;
}
}  // namespace bruck

inline constexpr algorithm bruck_all_gather_v{collective::all_gather_v, "bruck", true,
                                              bruck::write_all_gather_v, bruck::predict_all_gather_v};

}  // namespace entrain::comm::algorithms
