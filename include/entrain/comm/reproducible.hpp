// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/reproducible/operation.hpp>
#include <entrain/comm/reproducible/tree.hpp>
#include <entrain/comm/stepwise.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// An all-reduce whose result has the same bits for every number of ranks, on every communicator and on every run.
//
// What is reduced is the contributions of a fixed number L of leaves (logical shards of a batch, say), not those of ranks.
// Rank r of p holds leaves nth_part(L, r, p); with more ranks than leaves some hold none. The leaves are combined by one
// binary tree that depends on L alone (comm/reproducible/tree.hpp), so neither p nor the way the vectors travel can change
// how a rounding falls:
//
//   comm::reproducible_all_reduce(world, gradients_of_my_shards, sum, comm::sum{}, 8);  // the same on 1 to 8 ranks and more
//
// Any associative operation, commutative or not; any trivially copyable element; any length.
//
// How: each rank combines its leaves to as few tree nodes as its range allows (one, where L and p are powers of two or p
// divides L in such blocks; never more than 2 log2 L). Of every node's vector, rank q receives piece q of p, combines the
// pieces along the tree and sends the result to all. Pieces travel in segments, so that combining overlaps travelling.
//
// Cost a rank, m its nodes, M those of all, n elements: messages (m + 1)(p - 1) a segment at most; elements sent at most
// ceil(n / p) (m + 1)(p - 1): 2 (p - 1) / p n with one node a rank, the least that any all-reduce can do; (M - 1) n / p
// combines; memory M segments and, where a node has several leaves, m n elements.
//
// Counted in counters() like any all-reduce: one collective of n elements; sent() says what really travels.
// Errors: usage_error where the sizes do not fit, communication_error from the communicator.

namespace entrain::comm {

template <communicator C, class T, class Op>
using reproducible_request = stepwise::request<C, reproducible_detail::operation<C, T, Op>>;

// leaves: this rank's nth_part(total_leaves, rank, size).count leaves of out.size() elements each, one after the other. With
// exactly one leaf, out may be it. Both belong to the operation until its request completes.
template <communicator C, class In, class Out, class Op>
  requires(detail::viewable<In> && detail::viewable<Out>)
auto start_reproducible_all_reduce(C& c, In&& leaves, Out&& out, Op, std::size_t total_leaves) {
  using T = detail::element_of<In>;
  static_assert(detail::matching<In, Out>() && operation_on<Op, T>, "entrain: this reduction operation cannot combine elements of this type");
  static_assert(detail::space_of<In>::host_accessible, "entrain: a reproducible all-reduce needs memory that the host can read");
  const auto from = detail::input(leaves);
  const auto to = detail::output(out);
  const part mine = nth_part(total_leaves, std::size_t(c.rank()), std::size_t(c.size()));
  if (total_leaves == 0) throw usage_error("comm::reproducible_all_reduce", "there are no leaves", "at least one", "0");
  detail::check_size("reproducible_all_reduce", "the leaves of this rank (leaves x output)", mine.count * to.size(), from.size());
  detail::count_collective(c, to.size_bytes());
  using operation = reproducible_detail::operation<C, T, Op>;
  stepwise::pooled<operation> op(2 * to.size_bytes() + 1);
  op->plan(c, total_leaves, to.size());
  op->take_leaves(from.data(), mine.first);
  op->start(c, to.data());
  return reproducible_request<C, T, Op>(std::move(op));
}

// The blocking form. Returns what this rank has sent.
template <communicator C, class In, class Out, class Op>
  requires(detail::viewable<In> && detail::viewable<Out>)
sent_messages reproducible_all_reduce(C& c, In&& leaves, Out&& out, Op op, std::size_t total_leaves) {
  auto request = start_reproducible_all_reduce(c, leaves, out, op, total_leaves);
  request.wait();
  return request.sent();
}

// For leaves that come one at a time, such as the gradients of micro-batches: add() each in order, then all-reduce. Combines
// along the tree as early as it can, so it holds at most 2 log2 L vectors, and at most log2 L + 1 where the rank's range
// begins at a multiple of a power of two that is not below its length (always, for one rank and for powers of two).
//
//   comm::reproducible_accumulator<float> shards(world, 8, n);
//   for each of this rank's shards: ... compute its gradient ...; shards.add(gradient);
//   shards.all_reduce(world, gradient);   // empties it for the next step
//
// Nothing is allocated after the first round.
template <class T, class Op = sum>
class reproducible_accumulator {
 public:
  reproducible_accumulator() = default;
  // total_leaves over all ranks of the group, n elements each.
  template <communicator C>
  reproducible_accumulator(const C& c, std::size_t total_leaves, std::size_t n)
      : total_(total_leaves), n_(n), range_(nth_part(total_leaves, std::size_t(c.rank()), std::size_t(c.size()))) {}

  std::size_t leaves() const { return range_.count; }        // of this rank
  std::size_t first_leaf() const { return range_.first; }
  std::size_t added() const { return next_; }
  std::size_t vectors() const { return memory_.size(); }     // the most that it has held at once

  void add(view<const T> leaf) {
    if (next_ == range_.count)
      throw usage_error("comm::reproducible_accumulator", "one leaf more than this rank has", entrain::detail::text(range_.count));
    detail::check_size("reproducible_accumulator", "a leaf", n_, leaf.size());
    const std::size_t at = range_.first + next_++;
    held_.push_back({at, at + 1});
    // The new leaf is combined into the node beside it without being copied first.
    const T* newest = leaf.data();
    while (held_.size() > 1 && tree::siblings(held_[held_.size() - 2], held_.back(), total_)) {
      T* const left = vector(held_.size() - 2);
      combine(left, newest, left);
      held_[held_.size() - 2].last = held_.back().last;
      held_.pop_back();
      newest = left;
    }
    if (newest == leaf.data() && n_ > 0) std::copy(leaf.begin(), leaf.end(), vector(held_.size() - 1));
  }

  // Out must stay, and this object must not be used, until the request completes. All leaves must have been added.
  template <communicator C>
  reproducible_request<C, T, Op> start_all_reduce(C& c, view<T> out) {
    detail::check_size("reproducible_accumulator", "the output", n_, out.size());
    if (next_ != range_.count)
      throw usage_error("comm::reproducible_accumulator", "not all leaves of this rank have been added", entrain::detail::text(range_.count),
                        entrain::detail::text(next_));
    detail::count_collective(c, out.size_bytes());
    nodes_.clear();
    for (std::size_t i = 0; i < held_.size(); ++i) nodes_.push_back(vector(i));
    stepwise::pooled<reproducible_detail::operation<C, T, Op>> op(2 * out.size_bytes() + 1);
    op->plan(c, total_, n_);
    op->take_nodes(nodes_);
    op->start(c, out.data());
    held_.clear(), next_ = 0;
    return reproducible_request<C, T, Op>(std::move(op));
  }
  template <communicator C>
  sent_messages all_reduce(C& c, view<T> out) {
    auto request = start_all_reduce(c, out);
    request.wait();
    return request.sent();
  }

 private:
  T* vector(std::size_t i) {
    while (memory_.size() <= i) memory_.emplace_back(n_);
    return memory_[i].data();
  }
  void combine(const T* a, const T* b, T* into) {
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n_; ++i) into[i] = Op::combine(a[i], b[i]);
  }

  std::size_t total_ = 1, n_ = 0, next_ = 0;
  part range_;
  std::vector<tree::node> held_;
  std::vector<buffer<T>> memory_;
  std::vector<const T*> nodes_;
};

}  // namespace entrain::comm
