// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <entrain/comm/ok_topk/selection.hpp>
#include <entrain/core/memory.hpp>

// What comm/ok_topk.hpp remembers and computes on one rank, between its transfers (comm/ok_topk/operation.hpp). Buffers for
// the worst case are reserved at the start; of them only what is used takes memory.

namespace entrain::comm::ok_top_k_detail {

template <class T>
struct memory {
  using M = magnitude_type<T>;
  using list = pairs<T>;

  memory(std::size_t rank_count, std::size_t length, std::size_t target, unsigned threshold_every, unsigned boundary_every)
      : ranks(rank_count), d(length), k(target), cap(std::min(length, std::max<std::size_t>(1, target + target / 4))),
        threshold_period(threshold_every), boundary_period(boundary_every), bounds(ranks + 1), proposals(ranks * std::max<std::size_t>(1, ranks - 1)),
        send_counts(ranks), receive_counts(ranks), nonzero_counts(ranks), kept_counts(ranks), selected_indices(cap), kept_indices(cap), result_indices(cap),
        cleared(cap), selected_values(cap), kept_values(cap), result_values(cap), sums(d), outgoing(cap * list::bytes), gathered(cap * list::bytes),
        incoming(ranks * cap * list::bytes), nonzeros(std::min(d, ranks * cap) * sizeof(T)) {}

  bool boundaries_due() const { return ranks > 1 && (!bounds_known || step % boundary_period == 0); }
  // Thresholds are found anew in their period, and whenever they have come to select less than half or more than twice k.
  bool global_due() const { return step % threshold_period == 0 || (astray(last_kept) && !(last_kept < k && global_threshold == 0)); }
  bool astray(std::size_t count) const { return count < k / 2 || count > 2 * k; }

  void select(std::span<const T> values) {
    rebalanced = false;
    if (step % threshold_period == 0) local_threshold = kth_largest(values, k);
    std::size_t found = collect(values);
    if (astray(found) && step % threshold_period != 0 && !(found < k && local_threshold == 0)) {
      local_threshold = kth_largest(values, k);
      found = collect(values);
    }
    nudge(local_threshold, found, 1.012);
  }
  std::size_t collect(std::span<const T> values) {
    std::size_t found = 0;
    for_each_at_least(values, M(local_threshold), [&](std::size_t i) {
      if (found < cap) selected_indices[found] = std::uint32_t(i), selected_values[found] = values[i];
      ++found;
    });
    selected = std::min(found, cap);
    return found;
  }
  // Kept in the format of magnitudes, so that comparisons mean the same wherever they are made.
  void nudge(double& threshold, std::size_t count, double factor) const {
    if (count > k + k / 4) threshold = double(M(threshold * factor));
    else if (3 * count < 2 * k) threshold = double(M(threshold / factor));
  }

  void set_boundaries() {
    if (!boundaries_due()) return;
    bounds_known = true;
    bounds.front() = 0, bounds.back() = d;
    for (std::size_t b = 1; b < ranks; ++b) {
      std::uint64_t sum = 0;
      for (std::size_t q = 0; q < ranks; ++q) sum += proposals[q * (ranks - 1) + b - 1];
      bounds[b] = std::size_t(sum / ranks);  // means of ascending rows ascend
    }
  }
  void propose(std::size_t rank) {
    for (std::size_t b = 1; b < ranks; ++b)
      proposals[rank * (ranks - 1) + b - 1] = selected > 0 ? selected_indices[selected * b / ranks] : std::uint32_t(d * b / ranks);
  }

  // The selected pairs, region by region, ready to leave.
  void split(std::size_t rank) {
    if (ranks == 1) bounds.front() = 0, bounds.back() = d;
    std::size_t begin = 0;
    for (std::size_t q = 0; q < ranks; ++q) {
      std::size_t end = std::size_t(std::lower_bound(selected_indices.data() + begin, selected_indices.data() + selected, bounds[q + 1]) - selected_indices.data());
      send_counts[q] = std::uint32_t(end - begin);
      list::pack(selected_indices.data() + begin, selected_values.data() + begin, end - begin, outgoing.data() + begin * list::bytes);
      begin = end;
    }
    receive_counts[rank] = send_counts[rank];
  }

  // The sum over ranks in this rank's region, in the order of ranks.
  void reduce(std::size_t rank) {
    std::fill(sums.data() + bounds[rank], sums.data() + bounds[rank + 1], T{});
    received = 0;
    std::size_t own = 0;
    for (std::size_t q = 0; q < rank; ++q) own += send_counts[q];
    for (std::size_t q = 0; q < ranks; ++q) {
      const std::size_t n = receive_counts[q];
      const std::byte* from = q == rank ? outgoing.data() + own * list::bytes : incoming.data() + received * list::bytes;
      for (std::size_t i = 0; i < n; ++i) {
        T& to = sums[list::index(from, n, i)];
        to = T(to + list::value(from, i));
      }
      received += n;
    }
    if (!global_due()) return;
    std::size_t n = 0;
    for_each_at_least(region(rank), M(0), [&](std::size_t) { ++n; });
    nonzero_counts[rank] = std::uint32_t(n);
  }
  std::span<const T> region(std::size_t rank) const { return {sums.data() + bounds[rank], bounds[rank + 1] - bounds[rank]}; }

  void place_nonzeros(std::size_t rank, std::size_t at) {
    T* to = reinterpret_cast<T*>(nonzeros.data()) + at;
    const auto mine = region(rank);
    for_each_at_least(mine, M(0), [&](std::size_t i) { *to++ = mine[i]; });
  }
  void set_global_threshold(std::size_t count) {
    global_threshold = kth_largest(std::span<const T>(reinterpret_cast<const T*>(nonzeros.data()), count), k);
  }
  void keep(std::size_t rank) {
    std::size_t n = 0;
    const auto mine = region(rank);
    for_each_at_least(mine, M(global_threshold), [&](std::size_t i) {
      if (n < cap) kept_indices[n] = std::uint32_t(bounds[rank] + i), kept_values[n] = mine[i];
      ++n;
    });
    kept_counts[rank] = std::uint32_t(n);
  }
  // Where more are kept than there is room for, the last ones go: every rank knows all counts and cuts alike.
  void cut() {
    std::size_t all = 0, rest = cap;
    for (auto& n : kept_counts) {
      all += n;
      n = std::uint32_t(std::min<std::size_t>(n, rest));
      rest -= n;
    }
    last_kept = all;
    nudge(global_threshold, all, 1.008);
  }
  bool unbalanced() const {
    std::size_t all = 0, most = 0;
    for (const std::size_t n : kept_counts) all += n, most = std::max(most, n);
    return most * ranks > 4 * all;
  }
  void place_own(std::size_t rank, std::size_t at) {
    list::pack(kept_indices.data(), kept_values.data(), kept_counts[rank], gathered.data() + at * list::bytes);
  }

  // All pieces are here: one list, and which of this rank's entries are in it.
  void finish(std::size_t count) {
    result_count = 0;
    for (const std::size_t n : kept_counts) {
      list::unpack(gathered.data() + result_count * list::bytes, n, result_indices.data() + result_count, result_values.data() + result_count);
      result_count += n;
    }
    cleared_count = 0;
    for (std::size_t i = 0, j = 0; i < selected && j < count;) {
      const auto a = selected_indices[i], b = result_indices[j];
      if (a == b) cleared[cleared_count++] = a;
      i += a <= b, j += b <= a;
    }
    ++step;
  }

  std::size_t ranks, d, k, cap;
  std::uint64_t threshold_period, boundary_period, step = 0, last_kept = 0;
  double local_threshold = 0, global_threshold = 0;
  bool bounds_known = false, rebalanced = false;
  std::size_t selected = 0, received = 0, result_count = 0, cleared_count = 0;
  std::vector<std::size_t> bounds;
  std::vector<std::uint32_t> proposals, send_counts, receive_counts, nonzero_counts, kept_counts;
  buffer<std::uint32_t> selected_indices, kept_indices, result_indices, cleared;
  buffer<T> selected_values, kept_values, result_values, sums;
  buffer<std::byte> outgoing, gathered, incoming, nonzeros;
};

}  // namespace entrain::comm::ok_top_k_detail
