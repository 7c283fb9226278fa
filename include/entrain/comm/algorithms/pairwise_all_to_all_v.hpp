// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Pairwise all-to-all of pieces of different size: in step s rank r sends to r + s and receives from r - s. Cost: at most p - 1
// messages each way. A rank knows only its own counts: the predicted time is what its own messages take, exact where all ranks
// are alike, and must not be used to choose. No memory.
namespace entrain::comm::algorithms {

namespace pairwise {
inline void write_all_to_all_v(schedule::program& s, const problem& c) {
  using schedule::region;
  const int p = c.size, r = c.rank;
  const auto sends = [&](int k) { return c.counts[std::size_t(k)]; };
  const auto receives = [&](int k) { return c.receive_counts[std::size_t(k)]; };
  std::size_t from_offset = 0, received = 0, to_offset = 0;
  for (int k = 0; k < r; ++k) to_offset += sends(k), from_offset += receives(k);
  for (int k = 0; k < p; ++k) received += receives(k);
  const region own = region::in(to_offset, sends(r)), result = region::out(from_offset, receives(r));
  to_offset += sends(r);
  for (int step = 1; step < p; ++step) {
    const int to = around(r + step, p), from = around(r - step, p);
    if (to == 0) to_offset = 0;
    if (from == p - 1) from_offset = received;
    from_offset -= receives(from);
    s.next_round();
    s.receive(from, region::out(from_offset, receives(from)));
    s.send(to, region::in(to_offset, sends(to)));
    to_offset += sends(to);
  }
  s.copy(own, result);
}

inline cost predict_all_to_all_v(const problem& c) {
  cost k, received;
  for (int j = 0; j < c.size; ++j) {
    if (j == c.rank) continue;
    const std::size_t out = c.counts[std::size_t(j)], in = c.receive_counts[std::size_t(j)];
    k.messages += out > 0, k.elements += out;
    received.messages += in > 0, received.elements += in;
  }
  k.alphas = double(std::max(k.messages, received.messages)), k.betas = double(std::max(k.elements, received.elements));
  return k;
}
}  // namespace pairwise

inline constexpr algorithm pairwise_all_to_all_v{collective::all_to_all_v, "pairwise", true, pairwise::write_all_to_all_v,
                                                 pairwise::predict_all_to_all_v};

}  // namespace entrain::comm::algorithms
