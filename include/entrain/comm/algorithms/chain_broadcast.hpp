// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>
#include <entrain/core/batch.hpp>

// Pipelined chain broadcast: the operand travels from rank to rank in S segments, each rank receives one while it sends the
// one before. Cost: p - 2 + S steps of n / S elements: close to once the operand, whatever p, when S is large. The best S is
// sqrt((p - 2) n beta / alpha). The data are `out` on every rank. No memory.
namespace entrain::comm::algorithms {

namespace chain {
// Bytes whose transfer takes as long as starting a message: the ratio alpha / beta that segments are cut for. On most wires it
// lies between 4 and 64 KiB, and the time is flat around the best number of segments.
inline constexpr double bytes_per_start = 16384;
inline constexpr std::size_t most_segments = 512;

inline std::size_t segments(const problem& c) {
  const double best = std::sqrt(double(std::max(c.size - 2, 0)) * double(c.count) * double(c.width) / bytes_per_start);
  return std::clamp<std::size_t>(std::size_t(std::min(best + 0.5, double(most_segments))), 1, std::max<std::size_t>(c.count, 1));
}

inline void write_broadcast(schedule::program& s, const problem& c) {
  const int p = c.size, v = around(c.rank - c.root, p);
  const std::size_t pieces = segments(c);
  const auto segment = [&](std::size_t k) {
    const auto part = nth_part(c.count, k, pieces);
    return schedule::region::out(part.first, part.count);
  };
  for (std::size_t round = 0; round <= pieces; ++round) {
    s.next_round();
    if (v > 0 && round < pieces) s.receive(around(c.rank - 1, p), segment(round));
    if (v < p - 1 && round > 0) s.send(around(c.rank + 1, p), segment(round - 1));
  }
}

// The longest path takes every segment once and a longest one p - 2 times more.
inline cost predict_broadcast(const problem& c) {
  cost k;
  if (c.count == 0 || c.size == 1) return k;
  const std::size_t pieces = segments(c);
  k.alphas = double(c.size - 2) + double(pieces);
  k.betas = double(c.count) + double(c.size - 2) * double(nth_part(c.count, 0, pieces).count);
  if (around(c.rank - c.root, c.size) < c.size - 1) k.messages = pieces, k.elements = c.count;
  return k;
}
}  // namespace chain

inline constexpr algorithm chain_broadcast{collective::broadcast, "chain", true, chain::write_broadcast, chain::predict_broadcast};

}  // namespace entrain::comm::algorithms
