// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/ok_topk/memory.hpp>
#include <entrain/comm/ok_topk/operation.hpp>
#include <entrain/comm/stepwise.hpp>
#include <entrain/core/error.hpp>

// Ok-Topk: of the sum over ranks of what each selects, the k entries of largest magnitude, on every rank (Li and Hoefler,
// "Near-Optimal Sparse Allreduce for Distributed Deep Learning", PPoPP 2022). Less than six words a rank and entry travel,
// whatever the number of ranks:
//
//   comm::ok_top_k<float> sparse(world.size(), d, k);       // once; remembers thresholds and boundaries
//   for each step:
//     ... accumulated = gradient + residual ...
//     sparse.all_reduce(world, accumulated);
//     sparse.add_to(sum, 1.0f);                              // the result, the same bits on every rank
//     for (const auto i : sparse.cleared()) residual[i] = 0; // selected here and part of the result: all else stays
//
// A step:
//   1. Entries of at least the local threshold are selected (not zeros; NaN counts as infinite). The threshold is the exact
//      k-th largest magnitude in every 32nd step and whenever it selects less than k/2 or more than 2k, and is else nudged by
//      1.2 % when the count leaves [2k/3, 5k/4]. At most 5k/4 travel, the first.
//   2. The vector is split into one region a rank so that each gets as many entries: boundaries are the mean over ranks of
//      the quantiles of their selected indices, found anew in every 64th step.
//   3. Every rank sends each other what it has selected in its region, at most four messages under way, next rank first;
//      regions are summed in the order of ranks.
//   4. Sums of at least the global threshold are kept; that one is exact in every 32nd step (all sums are then gathered) and
//      in the step after one that has kept less than k/2 or more than 2k, and else nudged by 0.8 %. At most 5k/4 in all.
//   5. Where one rank holds more than four times the mean, kept entries move to equal parts. A ring gathers them.
//
// Messages, with w bytes a value, p ranks, s[q] entries selected for rank q, n[q] kept by rank q after 5, N their sum:
//   every step        2 (p - 1) of 4 bytes (counts); one of s[q] (4 + w) bytes to each q; p - 1 in the ring, which together
//                     carry (N - n[rank + 1]) (4 + w) bytes. Empty ones are not sent.
//   every 64th        p - 1 of 4 (p - 1) bytes
//   every 32nd        p - 1 of 4 bytes, and p - 1 that carry the sums of all ranks but the next one, w bytes each
//   when moved        at most one to each rank, together at most n[rank] (4 + w) bytes
// So about 2k words leave in 3 and 2k in 5, and never more than 5k in both (7.5k with a move). sent() is exact.
//
// Memory: the vector once more, and reserved but only as far as used, p 5k/4 pairs. Nothing is allocated after the start.
// Work: a pass over the vector and one over the region.

namespace entrain::comm {

struct ok_top_k_options {
  unsigned threshold_period = 32, boundary_period = 64;
};

// The state of one vector of d elements in one group of ranks; the same d, k and options on all of them.
template <element T>
class ok_top_k {
 public:
  ok_top_k(int ranks, std::size_t d, std::size_t k, ok_top_k_options options = {}) : memory_(checked(ranks, d, k, options)) {}

  // values: d of them, all distinct from what else is in flight; they and this object belong to the operation until its
  // request completes.
  template <communicator C>
  stepwise::request<C, ok_top_k_detail::operation<C, T>> start_all_reduce(C& c, std::span<const T> values) {
    detail::check_size("ok_top_k", "the group (ranks it was made for)", memory_.ranks, std::size_t(c.size()));
    detail::check_size("ok_top_k", "the vector", memory_.d, values.size());
    stepwise::pooled<ok_top_k_detail::operation<C, T>> op(0);
    op->start(c, memory_, values);
    detail::count_collective(c, memory_.selected * ok_top_k_detail::pairs<T>::bytes);
    return stepwise::request<C, ok_top_k_detail::operation<C, T>>(std::move(op));
  }
  // The blocking form. Returns what this rank has sent.
  template <communicator C>
  sent_messages all_reduce(C& c, std::span<const T> values) {
    auto request = start_all_reduce(c, values);
    request.wait();
    return request.sent();
  }

  // Of the last step: the result, ascending indices and their sums; which of this rank's entries are in it.
  std::span<const std::uint32_t> indices() const { return {memory_.result_indices.data(), memory_.result_count}; }
  std::span<const T> values() const { return {memory_.result_values.data(), memory_.result_count}; }
  std::span<const std::uint32_t> cleared() const { return {memory_.cleared.data(), memory_.cleared_count}; }
  std::span<const std::uint32_t> selected() const { return {memory_.selected_indices.data(), memory_.selected}; }
  void add_to(std::span<T> to, T scale) const {
    for (std::size_t i = 0; i < memory_.result_count; ++i) to[memory_.result_indices[i]] = T(to[memory_.result_indices[i]] + scale * memory_.result_values[i]);
  }

  std::size_t received() const { return memory_.received; }     // entries of all ranks in this rank's region
  bool rebalanced() const { return memory_.rebalanced; }
  std::span<const std::size_t> boundaries() const { return memory_.bounds; }  // of the regions; p + 1
  double local_threshold() const { return memory_.local_threshold; }          // of the next step, unless it is due
  double global_threshold() const { return memory_.global_threshold; }
  std::uint64_t steps() const { return memory_.step; }

  // What a resumed run needs to give the same bits. (Boundaries do not change the result and are found anew.)
  void visit(auto&& visitor) {
    visitor("step", memory_.step);
    visitor("kept", memory_.last_kept);
    visitor("local_threshold", memory_.local_threshold);
    visitor("global_threshold", memory_.global_threshold);
  }

 private:
  static ok_top_k_detail::memory<T> checked(int ranks, std::size_t d, std::size_t k, const ok_top_k_options& options) {
    if (ranks < 1) throw usage_error("comm::ok_top_k", "wrong number of ranks", "at least 1", entrain::detail::text(ranks));
    if (k < 1 || k > d) throw usage_error("comm::ok_top_k", "wrong k", entrain::detail::text("1 to ", d), entrain::detail::text(k));
    if (d > std::size_t(1) << 32) throw usage_error("comm::ok_top_k", "indices have 32 bits", "at most 2^32 elements", entrain::detail::text(d));
    if (options.threshold_period == 0 || options.boundary_period == 0) throw usage_error("comm::ok_top_k", "a period is 0", "at least 1", "0");
    return {std::size_t(ranks), d, k, options.threshold_period, options.boundary_period};
  }
  ok_top_k_detail::memory<T> memory_;
};

}  // namespace entrain::comm
