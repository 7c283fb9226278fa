// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <entrain/comm/algorithm.hpp>
#include <entrain/core/batch.hpp>

// All-reduce over binary trees in segments: sums go up, results come down, at the same time. Nodes are numbered in order (all of the left
// subtree, the node, all of the right one), so that operands keep rank order.
//
// The tree of m nodes v = 1 ... m: the level of a node is its lowest set bit b; its parent is (v xor b) or 2 b, or v xor b where that is beyond m; its
// children v -+ b/2, the right one halved further until it is in. Ranks are laid on it in three ways; in two of them that
// belong together the leaves of one are the inner nodes of the other (Sanders, Speck, Traeff 2009).
//
// Messages have a common clock: segment m goes up from depth d in round m + D - d (D: depth of the tree), and down from depth d in
// round D + m + d. Both ends agree, so nothing can hang.
namespace entrain::comm::algorithms::trees {

enum class layout : std::uint8_t {
  odd_inner,   // v = r + 1: ranks 1, 3, 5, ... are inner nodes
  mirrored,    // v = p - r: for even p, ranks 0, 2, 4, ...
  zero_on_top  // v = r, and rank 0 above the tree: ranks 0, 2, 4, ...
};
// What goes with odd_inner.
constexpr layout even_inner(int p) { return p % 2 == 0 ? layout::mirrored : layout::zero_on_top; }

struct node {
  int parent = -1, left = -1, right = -1;  // ranks
  int depth = 0;

  constexpr int children() const { return (left >= 0) + (right >= 0); }
};

constexpr int parent_of(int v, int m) {
  const int bit = v & -v, up = (v ^ bit) | 2 * bit;
  return up <= m ? up : v ^ bit;
}
constexpr int depth_of(layout how, int p) {
  const int m = how == layout::zero_on_top ? p - 1 : p;
  return (how == layout::zero_on_top) + int(std::bit_width(unsigned(m))) - 1;
}

constexpr node node_of(layout how, int rank, int p) {
  const bool zero = how == layout::zero_on_top, mirrored = how == layout::mirrored;
  const int m = zero ? p - 1 : p, v = zero ? rank : mirrored ? p - rank : rank + 1;
  const auto rank_of = [&](int u) { return zero ? u : mirrored ? p - u : u - 1; };
  node n;
  if (v == 0) {
    if (m > 0) n.right = int(std::bit_floor(unsigned(m)));
    return n;
  }
  const int top = zero ? 0 : int(std::bit_floor(unsigned(m)));
  for (int u = v; u != top; u = parent_of(u, m)) ++n.depth;
  if (v != top) n.parent = rank_of(parent_of(v, m));
  int below = (v & -v) / 2;
  if (below > 0) n.left = rank_of(v - below);
  while (below > 0 && v + below > m) below /= 2;
  if (below > 0) n.right = rank_of(v + below);
  if (mirrored) std::swap(n.left, n.right);
  return n;
}

// One tree, and the part of the operand that goes over it.
struct use {
  layout how = layout::odd_inner;
  std::size_t first = 0, count = 0;
};

// Bytes whose transfer takes as long as starting a message: what segments are cut for. The time is flat around the best number.
inline constexpr double bytes_per_start = 16384;
inline constexpr double most_segments = 256;

// The best number of segments of one tree for time (fill + busy (S - 1)) (alpha + n / S beta).
inline std::size_t segments(std::size_t count, std::size_t width, double fill, double busy) {
  const double best = std::sqrt(std::max(fill / busy - 1, 0.0) * double(count) * double(width) / bytes_per_start);
  return std::clamp<std::size_t>(std::size_t(std::min(best + 0.5, most_segments)), 1, std::max<std::size_t>(count, 1));
}

// What one rank does in one round of one tree; local work follows when the messages of all trees are written.
struct walk {
  node at;
  int depth = 0;  // of the tree
  use part;
  std::size_t pieces = 1, scratch = 0;

  walk(const problem& c, const use& u, std::size_t segments, std::size_t scratch_at)
      : at(node_of(u.how, c.rank, c.size)), depth(depth_of(u.how, c.size)), part(u), pieces(segments), scratch(scratch_at) {}

  bool valid(long k) const { return k >= 0 && std::size_t(k) < pieces; }
  schedule::region segment(schedule::place where, long k) const {
    const auto s = nth_part(part.count, std::size_t(k), pieces);
    return {where, part.first + s.first, s.count};
  }
  schedule::region arriving(int child, long k) const {
    const std::size_t longest = nth_part(part.count, 0, pieces).count;
    return schedule::region::scratch(scratch + std::size_t(child) * longest, segment(schedule::place::in, k).count);
  }

  void messages(schedule::program& s, long round) const {
    using schedule::place;
    const long sum = round - depth + at.depth + 1, up = sum - 1, down = round - depth - at.depth + 1, on = down - 1;
    if (valid(sum) && at.left >= 0) s.receive(at.left, arriving(0, sum));
    if (valid(sum) && at.right >= 0) s.receive(at.right, arriving(1, sum));
    if (valid(down) && at.parent >= 0) s.receive(at.parent, segment(place::out, down));
    if (valid(up) && at.parent >= 0) s.send(at.parent, segment(at.children() > 0 ? place::out : place::in, up));
    if (valid(on) && at.left >= 0) s.send(at.left, segment(place::out, on));
    if (valid(on) && at.right >= 0) s.send(at.right, segment(place::out, on));
  }
  void work(schedule::program& s, long round) const {
    using schedule::place;
    const long sum = round - depth + at.depth + 1;
    if (!valid(sum)) return;
    schedule::region own = segment(place::in, sum);
    const schedule::region total = segment(place::out, sum);
    if (at.left >= 0) s.combine(arriving(0, sum), own, total), own = total;
    if (at.right >= 0) s.combine(own, arriving(1, sum), total);
  }
  long rounds() const { return long(pieces) - 1 + 2 * depth; }
  void count_sent(cost& k) const {
    const std::uint64_t copies = std::uint64_t(at.parent >= 0) + std::uint64_t(at.children());
    k.messages += copies * std::min(pieces, part.count), k.elements += copies * part.count;
  }
};

}  // namespace entrain::comm::algorithms::trees
