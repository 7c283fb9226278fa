// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/hierarchical/group.hpp>

// The stages of each collective on nodes: 0 inside, 1 across, 2 inside again.

namespace entrain::comm::hierarchical_detail {

template <communicator C>
void barrier(operation<C>& op, int stage) {
  auto& g = *op.on;
  if (stage == 0) op.first = comm::start_barrier(g.inside);
  else if (stage == 1 && g.where.place == 0) op.first = comm::start_barrier(g.across);
  else if (stage == 2) op.first = comm::start_barrier(g.inside_again);
}

// Bytes. Across among the ranks that have the root's place, then inside; where some node has no such place, first to the first rank of the
// root's node.
template <communicator C>
void broadcast(operation<C>& op, int stage) {
  auto& g = *op.on;
  const auto& w = g.where;
  const view<std::byte> data(static_cast<std::byte*>(op.with.out), op.with.count);
  const int root_node = w.node_of[std::size_t(op.with.root)], root_place = w.place_of[std::size_t(op.with.root)];
  const bool here = w.node == root_node;
  if (w.equal || root_place == 0) {
    if (stage == 1 && w.place == root_place) op.first = comm::start_broadcast(g.across, data, root_node);
    else if (stage == 2) op.first = comm::start_broadcast(g.inside_again, data, root_place);
  } else if (stage == 0 && here) {
    op.first = comm::start_broadcast(g.inside, data, root_place);
  } else if (stage == 1 && w.place == 0) {
    op.first = comm::start_broadcast(g.across, data, root_node);
  } else if (stage == 2 && !here) {
    op.first = comm::start_broadcast(g.inside_again, data, 0);
  }
}

// Only where every node has the root's place.
template <communicator C, class T, class Op>
void reduce(operation<C>& op, int stage) {
  auto& g = *op.on;
  const auto& w = g.where;
  const std::size_t n = op.with.count;
  const int root_node = w.node_of[std::size_t(op.with.root)], root_place = w.place_of[std::size_t(op.with.root)];
  const bool root = g.world->rank() == op.with.root, collects = w.place == root_place;
  const view<T> out(root ? static_cast<T*>(op.with.out) : nullptr, root ? n : 0);
  const view<T> partial = root ? out : collects ? op.template memory<T>(n) : view<T>{};
  if (stage == 0) op.first = comm::start_reduce(g.inside, view<const T>(static_cast<const T*>(op.with.in), n), partial, Op{}, root_place);
  else if (stage == 1 && collects) op.first = comm::start_reduce(g.across, view<const T>(partial), out, Op{}, root_node);
}

template <communicator C, class T, class Op>
void all_reduce(operation<C>& op, int stage) {
  auto& g = *op.on;
  const std::size_t n = op.with.count, ranks = std::size_t(g.inside.size());
  const view<const T> in(static_cast<const T*>(op.with.in), n);
  const view<T> out(static_cast<T*>(op.with.out), n);
  if (!g.where.equal) {  // through the first rank of each node
    const bool first = g.where.place == 0;
    if (stage == 0) op.first = comm::start_reduce(g.inside, in, first ? out : view<T>{}, Op{}, 0);
    else if (stage == 1 && first) op.first = comm::start_all_reduce(g.across, out, Op{});
    else if (stage == 2) op.first = comm::start_broadcast(g.inside_again, out, 0);
    return;
  }
  // Equal pieces, one a rank of the node, and a rest of fewer elements than ranks, which everybody sums.
  const std::size_t each = n / ranks, body = each * ranks;
  const view<T> piece = out.subview(each * std::size_t(g.where.place), each), rest = out.subview(body, n - body);
  if (stage == 0) {
    op.first = comm::start_reduce_scatter(g.inside, in.subview(0, body), piece, Op{});
    if (n > body) op.second = comm::start_all_reduce(g.inside, in.subview(body, n - body), rest, Op{});
  } else if (stage == 1) {
    op.first = comm::start_all_reduce(g.across, piece, Op{});
    if (n > body) op.second = comm::start_all_reduce(g.across, rest, Op{});
  } else if (stage == 2) {
    op.first = comm::start_all_gather(g.inside_again, view<const T>(piece), out.subview(0, body));
  }
}

}  // namespace entrain::comm::hierarchical_detail
