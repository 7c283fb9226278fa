// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>
#include <entrain/core/batch.hpp>

// First half of the broadcasts that scatter the data over the ranks and gather them again: p nearly equal pieces of the operand
// go down a binomial tree, each into its place. Rank v (counted from the root) then has the pieces of its subtree.
namespace entrain::comm::algorithms::scattered_broadcast {

// Pieces [first, last) of the operand.
inline schedule::region pieces(const problem& c, int first, int last) {
  const auto p = std::size_t(c.size);
  const std::size_t from = nth_part(c.count, std::size_t(first), p).first;
  return schedule::region::out(from, nth_part(c.count, std::size_t(last), p).first - from);
}
// How many of them are not empty.
inline std::size_t messages(const problem& c, int first, int last) {
  return std::min(c.count, std::size_t(last)) - std::min(c.count, std::size_t(first));
}
inline int relative_rank(const problem& c) { return around(c.rank - c.root, c.size); }
inline int absolute_rank(const problem& c, int v) { return around(v + c.root, c.size); }

inline void write_scatter(schedule::program& s, const problem& c) {
  const int p = c.size, v = relative_rank(c);
  if (v > 0) s.receive(absolute_rank(c, binomial_tree::parent(v)), pieces(c, v, v + binomial_tree::subtree(v, p)));
  s.next_round();
  binomial_tree::for_children(v, p, [&](int child) {
    s.send(absolute_rank(c, child), pieces(c, child, child + binomial_tree::subtree(child, p)));
  });
}

// The root sends all but its own piece, in ceil(log2 p) messages.
inline cost predict_scatter(const problem& c) {
  const int p = c.size, v = relative_rank(c);
  cost k;
  binomial_tree::for_children(0, p, [&](int child) { k.alphas += messages(c, child, child + 1) > 0; });
  k.betas = double(pieces(c, 1, p).count);
  binomial_tree::for_children(v, p, [&](int child) {
    const std::size_t n = pieces(c, child, child + binomial_tree::subtree(child, p)).count;
    k.messages += n > 0, k.elements += n;
  });
  return k;
}

}  // namespace entrain::comm::algorithms::scattered_broadcast
