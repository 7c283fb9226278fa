// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>

// Linear scatter: the root sends every rank its piece. Cost: p - 1 messages of one piece leave the root, none is sent twice. No
// memory.
namespace entrain::comm::algorithms {

namespace linear {
inline void write_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const region result = region::out(0, n);
  const auto piece = [n](int r) { return region::in(n * std::size_t(r), n); };
  if (c.rank != c.root) return s.receive(c.root, result);
  for (int r = 0; r < c.size; ++r)
    if (r != c.root) s.send(r, piece(r));
  s.copy(piece(c.root), result);
}

inline cost predict_scatter(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.alphas = c.size - 1, k.betas = k.alphas * double(c.count);
  if (c.rank == c.root) k.messages = std::size_t(c.size - 1), k.elements = k.messages * c.count;
  return k;
}
}  // namespace linear

inline constexpr algorithm linear_scatter{collective::scatter, "linear", true, linear::write_scatter, linear::predict_scatter};

}  // namespace entrain::comm::algorithms
