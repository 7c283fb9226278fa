// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/rabenseifner_all_reduce.hpp>
#include <entrain/core/batch.hpp>

// All-reduce on nodes: reduce-scatter among the g ranks of a node, Rabenseifner's all-reduce of my piece with the ranks of the other nodes that have
// the same one, all-gather in the node. Between nodes a rank sends 2 (q - 1)/q of one g-th of the operand (q = p/g nodes); inside, 2 (g - 1)/g of
// it, in 2 (g - 1) direct messages. In the node the sums are taken outwards from my own rank, first to the lower ones, so that operands
// meet in rank order. Memory: two pieces. The predicted time takes all wires for equal: a network of two levels prices the
// parts itself (within_node, across_nodes).
namespace entrain::comm::algorithms {

namespace hierarchical {
struct layout {
  int g, local, node, nodes;  // ranks a node; my place in it; my node; number of nodes

  explicit constexpr layout(const problem& c)
      : g(c.ranks_per_node), local(c.rank % c.ranks_per_node), node(c.rank / c.ranks_per_node), nodes(c.size / c.ranks_per_node) {}
  constexpr int rank(int l) const { return node * g + l; }
};
constexpr part piece(const problem& c, int l) { return nth_part(c.count, std::size_t(l), std::size_t(c.ranks_per_node)); }

// What a node's rank `local` does with its piece among the nodes.
constexpr problem across(const problem& c) {
  const layout at(c);
  problem inner = c;
  inner.rank = at.node, inner.size = at.nodes, inner.count = piece(c, at.local).count, inner.ranks_per_node = 1;
  return inner;
}

inline void write_reduce_scatter(schedule::program& s, const problem& c, const layout& at) {
  using schedule::region;
  const part mine = piece(c, at.local);
  const region arriving = region::scratch(0, mine.count), upper = region::scratch(mine.count, mine.count), sum = region::out(mine.first, mine.count);
  region low = region::in(mine.first, mine.count), high = arriving;
  for (int j = 1; j < at.g; ++j) {
    const int to = (at.local + j) % at.g, from = (at.local + at.g - j) % at.g;
    const bool first_above = from == at.g - 1;
    const part given = piece(c, to);
    const region place = first_above ? upper : arriving;
    s.next_round();
    s.receive(at.rank(from), place);
    s.send(at.rank(to), region::in(given.first, given.count));
    if (from < at.local) s.combine(arriving, low, sum), low = sum;
    else if (first_above) high = upper;
    else s.combine(arriving, high, upper);
  }
  if (at.local + 1 < at.g) s.combine(low, high, sum);
}

inline void write_all_gather(schedule::program& s, const problem& c, const layout& at) {
  using schedule::region;
  const auto of = [&](int l) { return region::out(piece(c, l).first, piece(c, l).count); };
  for (int j = 1; j < at.g; ++j) {
    const int to = (at.local + j) % at.g, from = (at.local + at.g - j) % at.g;
    s.next_round();
    s.receive(at.rank(from), of(from));
    s.send(at.rank(to), of(at.local));
  }
}

inline void write_all_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const layout at(c);
  const problem inner = across(c);
  const region sum = region::out(piece(c, at.local).first, inner.count);
  write_reduce_scatter(s, c, at);
  s.within({.first = at.local, .stride = at.g, .in = at.g == 1 ? region::in(0, c.count) : sum, .out = sum},
           [&] { rabenseifner::write_all_reduce(s, inner); });
  write_all_gather(s, c, at);
}

// The parts of the cost: the rank with the longest piece sets the time.
inline cost within_node(const problem& c) {
  const layout at(c);
  cost k;
  if (c.count == 0) return k;
  const double others = at.g - 1, longest = double(piece(c, 0).count);
  k.alphas = 2 * others, k.betas = 2 * others * longest;
  k.gammas = (at.g > 2 ? others + 1 : others) * longest;  // joining the lower and the upper sum waits for the last round
  const std::size_t mine = piece(c, at.local).count, pieces = c.count < std::size_t(at.g) ? c.count : std::size_t(at.g);
  k.elements = c.count - mine + std::uint64_t(at.g - 1) * mine;
  k.messages = pieces - (mine > 0) + (mine > 0 ? std::uint64_t(at.g - 1) : 0);
  return k;
}
inline cost across_nodes(const problem& c) {
  problem longest = across(c);
  longest.count = piece(c, 0).count;
  cost k = rabenseifner::predict_all_reduce(longest);
  const cost sent = rabenseifner::predict_all_reduce(across(c));
  k.messages = sent.messages, k.elements = sent.elements;
  return k;
}
inline cost predict_all_reduce(const problem& c) {
  const cost a = within_node(c), b = across_nodes(c);
  return {a.alphas + b.alphas, a.betas + b.betas, a.gammas + b.gammas, a.messages + b.messages, a.elements + b.elements};
}
}  // namespace hierarchical

inline constexpr algorithm hierarchical_all_reduce{collective::all_reduce, "hierarchical", true, hierarchical::write_all_reduce,
                                                   hierarchical::predict_all_reduce};

}  // namespace entrain::comm::algorithms
