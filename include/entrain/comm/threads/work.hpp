// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <entrain/comm/threads/group.hpp>
#include <entrain/core/config.hpp>

// What a rank does once all have arrived: reductions and copies over the memory of all ranks.
//
// Reductions always combine in rank order, ((x0 op x1) op x2) ..., element by element, so that all_reduce, reduce and
// reduce_scatter give the same bits, whoever does the work. Large ones are cut into tasks that any rank takes from a
// common counter; a task's result is written to every output it belongs to while it is in the cache.

namespace entrain::comm::threads_detail {

inline constexpr std::size_t task_bytes = 32 * 1024;  // large against the cost of taking one, small enough to share evenly
inline constexpr std::size_t block_bytes = 4 * 1024;  // stays in the first-level cache together with its operands

template <class T> constexpr std::size_t elements_in(std::size_t bytes) { return std::max<std::size_t>(1, bytes / sizeof(T)); }
template <class T> constexpr std::size_t task_count(std::size_t n) {
  return (n + elements_in<T>(task_bytes) - 1) / elements_in<T>(task_bytes);
}

template <class T> void copy_elements(const T* from, T* to, std::size_t n) {
  if (n > 0 && from != to) std::memcpy(static_cast<void*>(to), static_cast<const void*>(from), n * sizeof(T));
}

// into[i] = a[i] op b[i]; into may be a.
template <class T, class Op> void combine_arrays(const T* a, const T* b, T* into, std::size_t n) {
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < n; ++i) into[i] = Op::combine(a[i], b[i]);
}

// Elements [offset, offset + n) of all ranks' inputs, combined, to write(block, offset, n).
template <class T, class Op, class Write> void reduce_range(operation& op, std::size_t offset, std::size_t n, Write&& write) {
  constexpr std::size_t block = elements_in<T>(block_bytes);
  alignas(buffer_alignment) std::byte space[block * sizeof(T)];
  T* const acc = reinterpret_cast<T*>(space);
  group& where = *op.where;
  const auto in = [&](int r) { return static_cast<const T*>(where.entry(op.sequence, r).in); };
  for (std::size_t begin = 0; begin < n; begin += block) {
    const std::size_t at = offset + begin, count = std::min(block, n - begin);
    if (where.size() == 1) copy_elements(in(0) + at, acc, count);
    else combine_arrays<T, Op>(in(0) + at, in(1) + at, acc, count);
    for (int r = 2; r < where.size(); ++r) combine_arrays<T, Op>(acc, in(r) + at, acc, count);
    write(static_cast<const T*>(acc), at, count);
  }
}

// Takes tasks until there are none left: run(task).
template <class Run> void take_tasks(operation& op, Run&& run) {
  auto& place = op.where->slot_of(op.sequence);
  for (;;) {
    const auto task = place.next_task.fetch_add(1, std::memory_order_relaxed);
    if (task >= place.tasks) return;
    run(std::size_t(task));
    place.finished_tasks.fetch_add(1, std::memory_order_acq_rel);
  }
}

template <class T> T* output_of(operation& op, int rank) { return static_cast<T*>(op.where->entry(op.sequence, rank).out); }

// all_reduce (root < 0) and reduce: the result goes to every rank's output, or to the root's.
template <class T, class Op> void reduce_whole(operation& op) {
  const auto& mine = op.where->entry(op.sequence, op.rank).what;
  const auto n = std::size_t(mine.count);
  if (op.end != operation::ending::tasks) {  // small: the inputs lie in the slot
    if (mine.root < 0 || mine.root == op.rank)
      reduce_range<T, Op>(op, 0, n,
                          [&](const T* x, std::size_t at, std::size_t count) { copy_elements(x, output_of<T>(op, op.rank) + at, count); });
    return;
  }
  constexpr std::size_t step = elements_in<T>(task_bytes);
  take_tasks(op, [&](std::size_t task) {
    reduce_range<T, Op>(op, task * step, std::min(step, n - task * step), [&](const T* x, std::size_t at, std::size_t count) {
      for (int r = 0; r < op.where->size(); ++r)
        if (mine.root < 0 || mine.root == r) copy_elements(x, output_of<T>(op, r) + at, count);
    });
  });
}

template <class T, class Op> void reduce_pieces(operation& op) {
  const auto n = std::size_t(op.where->entry(op.sequence, op.rank).what.count);  // of one piece
  const auto write_to = [&](int r) {
    return [&op, r, first = n * std::size_t(r)](const T* x, std::size_t at, std::size_t count) {
      copy_elements(x, output_of<T>(op, r) + (at - first), count);
    };
  };
  if (op.end != operation::ending::tasks) return reduce_range<T, Op>(op, n * std::size_t(op.rank), n, write_to(op.rank));
  constexpr std::size_t step = elements_in<T>(task_bytes);
  const std::size_t each = task_count<T>(n);
  take_tasks(op, [&](std::size_t task) {
    const std::size_t piece = task / each, begin = task % each * step;
    reduce_range<T, Op>(op, n * piece + begin, std::min(step, n - begin), write_to(int(piece)));
  });
}

// The copies. Untyped: offsets in bytes.
inline void copy_bytes(operation& op, int from, std::size_t from_offset, std::size_t to_offset, std::size_t bytes) {
  copy_elements(static_cast<const std::byte*>(op.where->entry(op.sequence, from).in) + from_offset,
                output_of<std::byte>(op, op.rank) + to_offset, bytes);
}
inline std::size_t part_bytes(operation& op) {
  const auto& what = op.where->entry(op.sequence, op.rank).what;
  return std::size_t(what.count) * what.width;
}

inline void copy_from_root(operation& op) {  // broadcast
  const int root = op.where->entry(op.sequence, op.rank).what.root;
  if (op.rank != root) copy_bytes(op, root, 0, 0, part_bytes(op));
}
inline void copy_own_piece(operation& op) {  // scatter
  const int root = op.where->entry(op.sequence, op.rank).what.root;
  const auto bytes = part_bytes(op);
  copy_bytes(op, root, bytes * std::size_t(op.rank), 0, bytes);
}
inline void copy_all(operation& op) {  // all_gather, gather
  const int root = op.where->entry(op.sequence, op.rank).what.root;
  const auto bytes = part_bytes(op);
  if (root >= 0 && root != op.rank) return;
  for (int r = 0; r < op.where->size(); ++r) copy_bytes(op, r, 0, bytes * std::size_t(r), bytes);
}
inline void copy_transposed(operation& op) {  // all_to_all
  const auto bytes = part_bytes(op);
  for (int r = 0; r < op.where->size(); ++r) copy_bytes(op, r, bytes * std::size_t(op.rank), bytes * std::size_t(r), bytes);
}

[[noreturn]] inline void raise_counts(operation& op, int peer, std::size_t expected, std::size_t found) {
  group& where = *op.where;
  where.work().raise(
      where.member(op.rank), entrain::detail::text("comm::threads, ", name_of(where.entry(op.sequence, op.rank).what.kind)),
      entrain::detail::text(where.name(op.rank), " and ", where.name(peer), " do not agree on the count from ", where.name(peer)),
      entrain::detail::text(expected), entrain::detail::text(found));
}
// counts, receive: what this rank expects from each.
inline void copy_all_v(operation& op, const std::size_t* counts) {
  const auto width = op.where->entry(op.sequence, op.rank).what.width;
  std::size_t to = 0;
  for (int r = 0; r < op.where->size(); to += counts[r++] * width) {
    const auto found = op.where->entry(op.sequence, r).in_count;
    if (found != counts[r]) raise_counts(op, r, counts[r], found);
    copy_bytes(op, r, 0, to, found * width);
  }
}
inline void copy_transposed_v(operation& op, const std::size_t* receive) {
  const auto width = op.where->entry(op.sequence, op.rank).what.width;
  std::size_t to = 0;
  for (int r = 0; r < op.where->size(); to += receive[r++] * width) {
    const auto* sent = op.where->entry(op.sequence, r).send;
    std::size_t from = 0;
    for (int q = 0; q < op.rank; ++q) from += sent[q] * width;
    if (sent[op.rank] != receive[r]) raise_counts(op, r, receive[r], sent[op.rank]);
    copy_bytes(op, r, from, to, receive[r] * width);
  }
}

}  // namespace entrain::comm::threads_detail
