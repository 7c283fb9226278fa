// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Binomial tree broadcast: who has the data passes it on to the heads of ever smaller subtrees. The data are `out` on every
// rank, the root's too. Cost: ceil(log2 p) steps of the whole operand; p - 1 messages in all. No memory.
namespace entrain::comm::algorithms {

namespace binomial {
inline void write_broadcast(schedule::program& s, const problem& c) {
  const int p = c.size, v = around(c.rank - c.root, p);
  const auto data = schedule::region::out(0, c.count);
  if (v > 0) s.receive(around(binomial_tree::parent(v) + c.root, p), data);
  s.next_round();
  binomial_tree::for_children(v, p, [&](int child) { s.send(around(child + c.root, p), data); });
}

inline cost predict_broadcast(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.alphas = log2_ceil(c.size), k.betas = k.alphas * double(c.count);
  k.messages = std::size_t(binomial_tree::children(around(c.rank - c.root, c.size), c.size));
  k.elements = k.messages * c.count;
  return k;
}
}  // namespace binomial

inline constexpr algorithm binomial_broadcast{collective::broadcast, "binomial", true,
                                              binomial::write_broadcast, binomial::predict_broadcast};

}  // namespace entrain::comm::algorithms
