// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Binomial tree gather: every rank collects the pieces of its subtree and sends them on in one message. Cost: ceil(log2 p)
// steps, p - 1 pieces arrive at the root. Memory: a subtree's pieces; at the root those of the one subtree that goes on past
// the last rank to rank 0.
namespace entrain::comm::algorithms {

namespace binomial {
inline void write_gather(schedule::program& s, const problem& c) {
  using schedule::region;
  const int p = c.size, v = around(c.rank - c.root, p), subtree = binomial_tree::subtree(v, p);
  const auto pieces = [&](int k) { return c.count * std::size_t(k); };
  const auto absolute = [&](int u) { return around(u + c.root, p); };
  const region own = region::in(0, c.count);
  if (v > 0) {
    if (subtree > 1) s.copy(own, region::scratch(0, c.count));
    binomial_tree::for_children(v, p, [&](int child) {
      s.receive(absolute(child), region::scratch(pieces(child - v), pieces(binomial_tree::subtree(child, p))));
    });
    s.next_round();
    return s.send(absolute(binomial_tree::parent(v)), subtree > 1 ? region::scratch(0, pieces(subtree)) : own);
  }
  int apart = -1, held = 0;  // the subtree that is not in one piece in the result
  binomial_tree::for_children(v, p, [&](int child) {
    const int first = absolute(child), n = binomial_tree::subtree(child, p);
    const bool whole = first + n <= p;
    if (!whole) apart = first, held = n;
    s.receive(first, whole ? region::out(pieces(first), pieces(n)) : region::scratch(0, pieces(n)));
  });
  if (apart >= 0) {
    s.copy(region::scratch(0, pieces(p - apart)), region::out(pieces(apart), pieces(p - apart)));
    s.copy(region::scratch(pieces(p - apart), pieces(held - (p - apart))), region::out(0, pieces(held - (p - apart))));
  }
  s.copy(own, region::out(pieces(c.root), c.count));
}

inline cost predict_gather(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const int v = around(c.rank - c.root, c.size);
  k.alphas = log2_ceil(c.size), k.betas = double(c.size - 1) * double(c.count);
  if (v > 0) k.messages = 1, k.elements = c.count * std::size_t(binomial_tree::subtree(v, c.size));
  return k;
}
}  // namespace binomial

inline constexpr algorithm binomial_gather{collective::gather, "binomial", true, binomial::write_gather, binomial::predict_gather};

}  // namespace entrain::comm::algorithms
