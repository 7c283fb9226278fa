// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>

// Linear gather: every rank sends its piece to the root. Cost: p - 1 messages of one piece arrive at the root, none is sent
// twice. No memory.
namespace entrain::comm::algorithms {

namespace linear {
inline void write_gather(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const region own = region::in(0, n);
  if (c.rank != c.root) return s.send(c.root, own);
  for (int r = 0; r < c.size; ++r)
    if (r != c.root) s.receive(r, region::out(n * std::size_t(r), n));
  s.copy(own, region::out(n * std::size_t(c.root), n));
}

inline cost predict_gather(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.alphas = c.size - 1, k.betas = k.alphas * double(c.count);
  if (c.rank != c.root) k.messages = 1, k.elements = c.count;
  return k;
}
}  // namespace linear

inline constexpr algorithm linear_gather{collective::gather, "linear", true, linear::write_gather, linear::predict_gather};

}  // namespace entrain::comm::algorithms
