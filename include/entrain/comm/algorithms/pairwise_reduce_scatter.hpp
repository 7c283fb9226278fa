// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Pairwise reduce-scatter that keeps the order of the ranks: in step s rank r sends its operand of piece r - s to that rank and
// gets that of rank r + s. What comes from above (r + 1, ..., p - 1) is added right to the result, what comes from below (0,
// ..., r - 1) is collected apart and stands left of it in the end. Cost: p - 1 steps of one piece, and, since ranks meet their
// own seam at different times, up to one piece more to combine than on a ring. Memory: two pieces.
namespace entrain::comm::algorithms {

namespace pairwise {
inline void write_reduce_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const auto own = [&](int k) { return region::in(n * std::size_t(k), n); };
  const region result = region::out(0, n), arriving = region::scratch(0, n), below = region::scratch(n, n);
  if (r == p - 1) s.copy(own(r), result);
  for (int step = 1; step < p; ++step) {
    const int from = around(r + step, p), to = around(r - step, p);
    s.next_round();
    s.receive(from, from == 0 ? below : arriving);
    s.send(to, own(to));
    if (from > r) s.combine(step == 1 ? own(r) : result, arriving, result);
    else if (from > 0) s.combine(below, arriving, below);
  }
  if (r > 0) s.combine(below, result, result);
}

inline cost predict_reduce_scatter(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const auto steps = std::size_t(c.size - 1);
  k.messages = steps, k.elements = steps * c.count;
  k.alphas = double(steps), k.betas = double(k.elements), k.gammas = double(c.size > 2 ? c.size : c.size - 1) * double(c.count);
  return k;
}
}  // namespace pairwise

inline constexpr algorithm pairwise_reduce_scatter{collective::reduce_scatter, "pairwise", true, pairwise::write_reduce_scatter,
                                                   pairwise::predict_reduce_scatter};

}  // namespace entrain::comm::algorithms
