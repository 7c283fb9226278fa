// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Binomial tree scatter: every rank gets the pieces of its subtree in one message and sends its children theirs. Cost:
// ceil(log2 p) steps, p - 1 pieces leave the root. Memory: a subtree's pieces; at the root those of the one subtree that goes
// on past the last rank to rank 0.
namespace entrain::comm::algorithms {

namespace binomial {
inline void write_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const int p = c.size, v = around(c.rank - c.root, p), subtree = binomial_tree::subtree(v, p);
  const auto pieces = [&](int k) { return c.count * std::size_t(k); };
  const auto absolute = [&](int u) { return around(u + c.root, p); };
  const region result = region::out(0, c.count);
  if (v > 0) {
    s.receive(absolute(binomial_tree::parent(v)), subtree > 1 ? region::scratch(0, pieces(subtree)) : result);
    s.next_round();
    binomial_tree::for_children(v, p, [&](int child) {
      s.send(absolute(child), region::scratch(pieces(child - v), pieces(binomial_tree::subtree(child, p))));
    });
    if (subtree > 1) s.copy(region::scratch(0, c.count), result);
    return;
  }
  const auto whole = [&](int child) { return absolute(child) + binomial_tree::subtree(child, p) <= p; };
  binomial_tree::for_children(v, p, [&](int child) {
    if (whole(child)) return;
    const int above = p - absolute(child), below = binomial_tree::subtree(child, p) - above;
    s.copy(region::in(pieces(absolute(child)), pieces(above)), region::scratch(0, pieces(above)));
    s.copy(region::in(0, pieces(below)), region::scratch(pieces(above), pieces(below)));
  });
  binomial_tree::for_children(v, p, [&](int child) {
    const std::size_t n = pieces(binomial_tree::subtree(child, p));
    s.send(absolute(child), whole(child) ? region::in(pieces(absolute(child)), n) : region::scratch(0, n));
  });
  s.copy(region::in(pieces(c.root), c.count), result);
}

inline cost predict_scatter(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const int v = around(c.rank - c.root, c.size);
  k.alphas = log2_ceil(c.size), k.betas = double(c.size - 1) * double(c.count);
  k.messages = std::size_t(binomial_tree::children(v, c.size));
  k.elements = c.count * std::size_t(binomial_tree::subtree(v, c.size) - 1);
  return k;
}
}  // namespace binomial

inline constexpr algorithm binomial_scatter{collective::scatter, "binomial", true, binomial::write_scatter, binomial::predict_scatter};

}  // namespace entrain::comm::algorithms
