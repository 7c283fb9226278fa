// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/hierarchical/group.hpp>
#include <entrain/comm/hierarchical/request.hpp>
#include <entrain/comm/hierarchical/stages.hpp>
#include <entrain/comm/traits.hpp>

// Ranks on nodes: what is close goes by the close wires, and only what must crosses from node to node.
//
//   comm::mpi world{argc, argv};
//   comm::hierarchical nodes{world};                 // inside a node shared memory, across nodes MPI
//   en::trainer run{model, nodes, ...};
//   comm::hierarchical parts{world, world.rank() / 4};   // any communicator, with the number of this rank's node given
//
// It is a communicator over the ranks of `world`, which it refers to and which must outlive it. all_reduce on q nodes of g
// ranks: reduce-scatter inside, all-reduce of one piece in g across nodes, all-gather inside: 2 (q - 1)/q of n/g elements cross a rank's
// outer wire, g times fewer than without nodes. Where nodes have different numbers of ranks: reduce to the node's first rank, all-reduce among
// those, broadcast. broadcast, reduce and barrier go across once a node; all other collectives are world's own.
// All forms are stepwise-nonblocking, progress as comm/pending.hpp says.
//
// Operands are combined node by node: for an operation that does not commute that is rank order only where nodes hold
// consecutive ranks; where they do not, such an operation goes by world's own all_reduce.
//
// Making one is collective (an all-gather and three splits). Memory: a piece of the operand, kept.

namespace entrain::comm {

template <communicator C>
class hierarchical {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "hierarchical";
  using request = hierarchical_detail::request<C>;
  struct abilities {
    template <collective Kind, class T, class Op, class Space>
    static constexpr bool native = element<T> && Space::host_accessible;
    static constexpr bool best = true;
  };

  // node: any number that the ranks of one node, and only they, have in common.
  hierarchical(C& world, int node) : shared_(std::make_shared<hierarchical_detail::group<C>>(world, node)) {}
  explicit hierarchical(C& world)
    requires requires { { node_number(world) } -> std::same_as<int>; }
      : hierarchical(world, node_number(world)) {}

  int rank() const { return shared_->world->rank(); }
  int size() const { return shared_->world->size(); }
  int nodes() const { return shared_->where.nodes; }
  int node() const { return shared_->where.node; }
  C& inside() { return shared_->inside; }
  C& across() { return shared_->across; }
  traffic& counters() { return shared_->counted; }
  std::uint64_t& sequence() { return shared_->world->sequence(); }

  hierarchical split(int colour, int key) {
    auto part = std::make_unique<C>(shared_->world->split(colour, key));
    return hierarchical(std::make_shared<hierarchical_detail::group<C>>(std::move(part), shared_->number));
  }

  template <class T, class Space>
  request start_send(view<const T, Space> data, int to, int tag) {
    return request(pending<C>(shared_->world->start_send(data, to, tag)));
  }
  template <class T, class Space>
  request start_receive(view<T, Space> data, int from, int tag) {
    return request(pending<C>(shared_->world->start_receive(data, from, tag)));
  }

  request start_barrier() { return staged(&hierarchical_detail::barrier<C>, {}); }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    return staged(&hierarchical_detail::broadcast<C>, {.out = data.data(), .count = data.size_bytes(), .root = root});
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op op, int root) {
    const bool reachable = shared_->where.equal || shared_->where.place_of[std::size_t(root)] == 0;
    if (!reachable || (!Op::commutative && !shared_->where.in_order)) return request(comm::start_reduce(*shared_->world, in, out, op, root));
    return staged(&hierarchical_detail::reduce<C, T, Op>, {.in = in.data(), .out = out.data(), .count = in.size(), .root = root});
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op op) {
    if (!Op::commutative && !shared_->where.in_order) return request(comm::start_all_reduce(*shared_->world, in, out, op));
    return staged(&hierarchical_detail::all_reduce<C, T, Op>, {.in = in.data(), .out = out.data(), .count = in.size()});
  }

  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op op) { return request(comm::start_reduce_scatter(*shared_->world, in, out, op)); }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) { return request(comm::start_all_gather(*shared_->world, in, out)); }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    return request(comm::start_all_gather_v(*shared_->world, in, out, counts));
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) { return request(comm::start_gather(*shared_->world, in, out, root)); }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) { return request(comm::start_scatter(*shared_->world, in, out, root)); }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) { return request(comm::start_all_to_all(*shared_->world, in, out)); }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    return request(comm::start_all_to_all_v(*shared_->world, in, send, out, receive));
  }

 private:
  request staged(typename hierarchical_detail::operation<C>::stages begin, const typename hierarchical_detail::operation<C>::arguments& with) {
    auto& op = hierarchical_detail::operations<C>::take();
    request handle(op);
    op.on = shared_, op.begin = begin, op.with = with;
    op.start();
    return handle;
  }
  explicit hierarchical(std::shared_ptr<hierarchical_detail::group<C>> shared) : shared_(std::move(shared)) {}
  std::shared_ptr<hierarchical_detail::group<C>> shared_;
};

}  // namespace entrain::comm
