// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <entrain/comm/shared_memory/arenas.hpp>
#include <entrain/comm/shared_memory/combine.hpp>
#include <entrain/comm/shared_memory/operation.hpp>
#include <entrain/comm/shared_memory/segment.hpp>

// What a rank does in a round, for each collective, in three stages:
//
//   stage    puts into its slot what others need
//   work     (all have staged) reads the others' slots: combines, or copies to its output
//   collect  (all have worked) copies the others' results to its output; only where they meet twice
//
// Layout of a slot: broadcast, reduce, all_reduce and the gathers: the rank's own bytes of this round, where a share that
// has been combined replaces its operand; reduce_scatter, scatter, all_to_all: for each rank its bytes, `step` apart.
// A rank's own part never goes through its slot.

namespace entrain::comm::shared_memory {

class stages {
 public:
  stages(int rank, const segments& all) : rank_(std::size_t(rank)), ranks_(all.size()), all_(all), inputs_(all.size()), arena_in_(all.size()), arena_out_(all.size()) {}

  // Where rank r's operands lie in arenas, for the operation that is met now; null: not there.
  void found(std::size_t r, std::byte* in, std::byte* out) { arena_in_[r] = in, arena_out_[r] = out; }

  void stage(const operation& op, std::uint64_t slot, std::uint64_t round) {
    std::byte* const room = all_[rank_].room(slot);
    const std::size_t at = op.begin(round), bytes = op.length(round);
    switch (op.what.kind) {
      case collective::broadcast:
        if (is_root(op)) copy_bytes(op.in + at, room, bytes);
        break;
      case collective::reduce:
      case collective::all_reduce:
        if (op.how == operation::way::direct) {
          if (op.what.kind == collective::all_reduce || !is_root(op)) copy_bytes(op.in + at, room, bytes);
        } else {
          const std::size_t own = share(op, bytes, rank_), after = share(op, bytes, rank_ + 1);
          copy_bytes(op.in + at, room, own);
          copy_bytes(op.in + at + after, room + after, bytes - after);
        }
        break;
      case collective::all_gather: copy_bytes(op.in + at, room, bytes); break;
      case collective::all_gather_v: copy_bytes(op.in + at, room, length_of(op, rank_, at)); break;
      case collective::gather:
        if (!is_root(op)) copy_bytes(op.in + at, room, bytes);
        break;
      case collective::scatter:
        if (!is_root(op)) break;
        [[fallthrough]];
      case collective::reduce_scatter:
      case collective::all_to_all:
        for (std::size_t q = 0; q < ranks_; ++q)
          if (q != rank_) copy_bytes(op.in + q * op.piece + at, room + q * op.step, bytes);
        break;
      default: break;
    }
  }

  void work(const operation& op, std::uint64_t slot, std::uint64_t round) {
    const std::size_t at = op.begin(round), bytes = op.length(round), own = rank_ * op.piece + at;
    switch (op.what.kind) {
      case collective::broadcast:
        if (!is_root(op)) copy_bytes(room(op.what.root, slot), op.out + at, bytes);
        break;
      case collective::reduce:
      case collective::all_reduce: combine(op, slot, at, bytes); break;
      case collective::reduce_scatter:
        for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = input(op, q, own, room(q, slot) + rank_ * op.step);
        op.combine(inputs_.data(), ranks_, op.out + at, nullptr, bytes / op.what.width);
        break;
      case collective::gather:
        if (!is_root(op)) break;
        [[fallthrough]];
      case collective::all_gather:
        for (std::size_t q = 0; q < ranks_; ++q) copy_bytes(input(op, q, at, room(q, slot)), op.out + q * op.piece + at, bytes);
        break;
      case collective::all_gather_v: {
        std::byte* to = op.out + at;
        for (std::size_t q = 0; q < ranks_; to += op.counts[q++] * op.what.width)
          if (const std::size_t n = length_of(op, q, at)) copy_bytes(q == rank_ ? op.in + at : room(q, slot), to, n);
        break;
      }
      case collective::scatter:
        copy_bytes(is_root(op) ? op.in + own : room(op.what.root, slot) + rank_ * op.step, op.out + at, bytes);
        break;
      case collective::all_to_all:
        for (std::size_t q = 0; q < ranks_; ++q)
          copy_bytes(q == rank_ ? op.in + own : room(q, slot) + rank_ * op.step, op.out + q * op.piece + at, bytes);
        break;
      default: break;
    }
  }

  void collect(const operation& op, std::uint64_t slot, std::uint64_t round) {
    if (op.how != operation::way::shares || (op.what.kind == collective::reduce && !is_root(op))) return;
    const std::size_t at = op.begin(round), bytes = op.length(round);
    for (std::size_t next = 1; next < ranks_; ++next) {  // each begins with its neighbour, so that not all read from one
      const std::size_t q = (rank_ + next) % ranks_, begin = share(op, bytes, q), end = share(op, bytes, q + 1);
      copy_bytes(room(q, slot) + begin, op.out + at + begin, end - begin);
    }
  }

  // All of it, between arenas.
  void work_in_arenas(const operation& op) {
    switch (op.what.kind) {
      case collective::broadcast:
        if (!is_root(op)) copy_bytes(arena_in_[std::size_t(op.what.root)], op.out, op.piece);
        break;
      case collective::all_gather:
        for (std::size_t next = 0; next < ranks_; ++next) {
          const std::size_t q = (rank_ + next) % ranks_;
          copy_bytes(arena_in_[q], op.out + q * op.piece, op.piece);
        }
        break;
      case collective::reduce_scatter:
        for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = arena_in_[q] + rank_ * op.piece;
        op.combine(inputs_.data(), ranks_, op.out, nullptr, op.piece / op.what.width);
        break;
      default: all_reduce_in_arenas(op);
    }
  }

 private:
  bool is_root(const operation& op) const { return std::size_t(op.what.root) == rank_; }
  std::byte* room(std::size_t rank, std::uint64_t slot) const { return all_[rank].room(slot); }
  std::size_t share(const operation& op, std::size_t bytes, std::size_t r) const { return share_begin(op, bytes, r, ranks_); }
  // Rank q's input: this rank's own where it lies, another's where it has been staged, or in its arena.
  const std::byte* input(const operation& op, std::size_t q, std::size_t offset, const std::byte* staged) const {
    if (q == rank_) return op.in + offset;
    return op.some_in_arenas && arena_in_[q] ? arena_in_[q] + offset : staged;
  }
  static std::size_t length_of(const operation& op, std::size_t rank, std::size_t at) {
    const std::size_t all = op.counts[rank] * op.what.width;
    return all <= at ? 0 : std::min(op.step, all - at);
  }

  void combine(const operation& op, std::uint64_t slot, std::size_t at, std::size_t bytes) {
    const bool wanted = op.what.kind == collective::all_reduce || is_root(op), shares = op.how == operation::way::shares;
    if (!shares && !wanted) return;
    const std::size_t begin = shares ? share(op, bytes, rank_) : 0, end = shares ? share(op, bytes, rank_ + 1) : bytes;
    if (begin == end) return;
    for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = input(op, q, at, room(q, slot)) + begin;
    std::byte* const staged = shares && !(op.what.kind == collective::reduce && is_root(op)) ? room(rank_, slot) + begin : nullptr;
    if (wanted) op.combine(inputs_.data(), ranks_, op.out + at + begin, staged, (end - begin) / op.what.width);
    else op.combine(inputs_.data(), ranks_, staged, nullptr, (end - begin) / op.what.width);
  }

  // This rank's share, block by block: combined once, written to all outputs while it is in the cache. In place is safe,
  // since nobody else reads or writes this share.
  void all_reduce_in_arenas(const operation& op) {
    const std::size_t first = share(op, op.piece, rank_), last = share(op, op.piece, rank_ + 1), width = op.what.width;
    const std::size_t block = std::max<std::size_t>(1, 16 * 1024 / width) * width, other = (rank_ + 1) % ranks_;
    for (std::size_t at = first; at < last; at += block) {
      const std::size_t bytes = std::min(block, last - at);
      for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = arena_in_[q] + at;
      op.combine(inputs_.data(), ranks_, op.out + at, arena_out_[other] + at, bytes / width);
      for (std::size_t next = 2; next < ranks_; ++next) copy_bytes(op.out + at, arena_out_[(rank_ + next) % ranks_] + at, bytes);
    }
  }

  std::size_t rank_, ranks_;
  const segments& all_;
  std::vector<const std::byte*> inputs_;
  std::vector<std::byte*> arena_in_, arena_out_;
};

}  // namespace entrain::comm::shared_memory
