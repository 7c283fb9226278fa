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
#include <entrain/comm/shared_memory/ownership.hpp>
#include <entrain/comm/shared_memory/segment.hpp>

// What a rank does in a round, for each collective, in three stages:
//
//   stage    puts into its slot what others need
//   work     (all have staged) reads the others' slots: combines, or copies to its output
//   collect  (all have worked) copies the others' results to its output; only where they meet twice
//
// Layout of a slot: broadcast, reduce, all_reduce and the gathers: the rank's own bytes of this round; reduce_scatter,
// scatter, all_to_all: for each rank its bytes, `step` apart. A rank's own part never goes through its slot.
//
// In shares, a rank writes the result over the operands that it has read, into the slots of all who want it: each then
// finds the whole result in its own slot, and every cache line has gone to the other core and back once, instead of two
// lines going there and their copies being called back (ownership.hpp).

namespace entrain::comm::shared_memory {

class stages {
 public:
  stages(int rank, const segments& all)
      : rank_(std::size_t(rank)), ranks_(all.size()), all_(all), inputs_(all.size()), arena_in_(all.size()), arena_out_(all.size()) {}

  // Where rank r's operands lie in arenas, for the operation that is met now; null: not there.
  void found(std::size_t r, std::byte* in, std::byte* out) { arena_in_[r] = in, arena_out_[r] = out; }

  void stage(const operation& op, std::uint64_t slot, std::uint64_t round) {
    std::byte* const room = all_[rank_].room(slot);
    const std::size_t at = op.begin(round), bytes = op.length(round);
    switch (op.what.kind) {
      case collective::broadcast:
        if (is_root(op)) copy_to_slot(op.in + at, room, bytes);
        break;
      case collective::reduce:
      case collective::all_reduce:
        if (op.how == operation::way::direct) {
          if (op.what.kind == collective::all_reduce || !is_root(op)) copy_to_slot(op.in + at, room, bytes);
        } else {
          const std::size_t own = share(op, bytes, rank_), after = share(op, bytes, rank_ + 1);
          copy_to_slot(op.in + at, room, own);
          copy_to_slot(op.in + at + after, room + after, bytes - after);
        }
        break;
      case collective::all_gather: copy_to_slot_and(op.in + at, room, op.out + rank_ * op.piece + at, bytes); break;
      case collective::all_gather_v:
        if (const std::size_t own = length_of(op, rank_, at)) copy_to_slot(op.in + at, room, own);
        break;
      case collective::gather:
        if (!is_root(op)) copy_to_slot(op.in + at, room, bytes);
        break;
      case collective::scatter:
        if (!is_root(op)) break;
        [[fallthrough]];
      case collective::reduce_scatter:
      case collective::all_to_all:
        for (std::size_t q = 0; q < ranks_; ++q)
          if (q != rank_) copy_to_slot(op.in + q * op.piece + at, room + q * op.step, bytes);
        break;
      default: break;
    }
  }

  void work(const operation& op, std::uint64_t slot, std::uint64_t round) {
    const std::size_t at = op.begin(round), bytes = op.length(round), own = rank_ * op.piece + at;
    switch (op.what.kind) {
      case collective::broadcast:
        if (!is_root(op)) read_from_slot(room(std::size_t(op.what.root), slot), op.out + at, bytes);
        break;
      case collective::reduce:
      case collective::all_reduce: combine(op, slot, at, bytes); break;
      case collective::reduce_scatter:
        for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = input(op, q, own, room(q, slot) + rank_ * op.step);
        op.combine(inputs_.data(), ranks_, op.out + at, nullptr, bytes / op.what.width);
        break;
      case collective::gather:
        if (!is_root(op)) break;
        copy_bytes(op.in + at, op.out + own, bytes);
        [[fallthrough]];
      case collective::all_gather:
        if (op.what.in != nowhere) copy_bytes(op.in + at, op.out + own, bytes);  // nothing has been staged
        for (std::size_t next = 1; next < ranks_; ++next) {
          const std::size_t q = (rank_ + next) % ranks_;
          read_from_slot(input(op, q, at, room(q, slot)), op.out + q * op.piece + at, bytes);
        }
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
    const std::size_t at = op.begin(round), bytes = op.length(round), own = share(op, bytes, rank_), after = share(op, bytes, rank_ + 1);
    const std::byte* const from = room(rank_, slot);
    take_from_slot(from, op.out + at, own);
    take_from_slot(from + after, op.out + at + after, bytes - after);
  }

  // The same for an all_reduce in shares, and stages round `next`, which uses the same slot, in its place: the lines are at
  // hand then, and while the following ones are on their way there is time for it.
  void collect_and_stage(const operation& op, std::uint64_t slot, std::uint64_t round, std::uint64_t next) {
    const std::size_t bytes = op.length(round), own = share(op, bytes, rank_), after = share(op, bytes, rank_ + 1);
    if (op.length(next) != bytes) {
      collect(op, slot, round);
      return stage(op, slot, next);
    }
    std::byte* const mine = room(rank_, slot);
    const auto exchange = [&](std::size_t begin, std::size_t end) {
      in_blocks(end - begin, ahead, [&](std::size_t at, std::size_t n) { own_lines(mine + begin + at, n); },
                [&](std::size_t at, std::size_t n) {
                  copy_bytes(mine + begin + at, op.out + op.begin(round) + begin + at, n);
                  copy_bytes(op.in + op.begin(next) + begin + at, mine + begin + at, n);
                });
    };
    exchange(0, own);
    exchange(after, bytes);
  }

  // All of it, between arenas.
  void work_in_arenas(const operation& op) {
    switch (op.what.kind) {
      case collective::broadcast:
        if (!is_root(op)) read_from_slot(arena_in_[std::size_t(op.what.root)], op.out, op.piece);
        break;
      case collective::all_gather:
        for (std::size_t next = 0; next < ranks_; ++next) {
          const std::size_t q = (rank_ + next) % ranks_;
          if (q == rank_) copy_bytes(op.in, op.out + q * op.piece, op.piece);
          else read_from_slot(arena_in_[q], op.out + q * op.piece, op.piece);
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
    const bool wanted = op.what.kind == collective::all_reduce || is_root(op);
    if (op.how == operation::way::direct) {
      if (!wanted) return;
      for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = input(op, q, at, room(q, slot));
      return op.combine(inputs_.data(), ranks_, op.out + at, nullptr, bytes / op.what.width);
    }
    // Block by block: combined once, written to this rank's output and to the slots of the others who want it.
    const std::size_t begin = share(op, bytes, rank_), end = share(op, bytes, rank_ + 1), width = op.what.width;
    const auto slot_of = [&](std::size_t q) { return room(q, slot) + begin; };
    in_blocks(end - begin, std::max<std::size_t>(1, ahead / width) * width,
              [&](std::size_t from, std::size_t n) {
                for (std::size_t next = 1; next < ranks_; ++next) own_lines(slot_of((rank_ + next) % ranks_) + from, n);
              },
              [&](std::size_t from, std::size_t n) {
                for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = input(op, q, at, room(q, slot)) + begin + from;
                targets_.clear();
                if (wanted) targets_.push_back(op.out + at + begin + from);
                for (std::size_t next = 1; next < ranks_; ++next) {
                  const std::size_t q = (rank_ + next) % ranks_;
                  if (op.what.kind == collective::all_reduce || std::size_t(op.what.root) == q) targets_.push_back(slot_of(q) + from);
                }
                combine_to_targets(op, n);
              });
  }

  // From inputs_ to targets_.
  void combine_to_targets(const operation& op, std::size_t bytes) {
    op.combine(inputs_.data(), ranks_, targets_[0], targets_.size() > 1 ? targets_[1] : nullptr, bytes / op.what.width);
    for (std::size_t t = 2; t < targets_.size(); ++t) copy_bytes(targets_[0], targets_[t], bytes);
  }

  // This rank's share, block by block: combined once, written to all outputs while it is in the cache. In place is safe,
  // since nobody else reads or writes this share.
  void all_reduce_in_arenas(const operation& op) {
    const std::size_t first = share(op, op.piece, rank_), last = share(op, op.piece, rank_ + 1), width = op.what.width;
    in_blocks(last - first, std::max<std::size_t>(1, ahead / width) * width,
              [&](std::size_t at, std::size_t n) {
                for (std::size_t next = 1; next < ranks_; ++next) own_lines(arena_out_[(rank_ + next) % ranks_] + first + at, n);
              },
              [&](std::size_t at, std::size_t n) {
                targets_.clear();
                for (std::size_t q = 0; q < ranks_; ++q) inputs_[q] = arena_in_[q] + first + at;
                for (std::size_t next = 0; next < ranks_; ++next) targets_.push_back(arena_out_[(rank_ + next) % ranks_] + first + at);
                combine_to_targets(op, n);
              });
  }

  std::size_t rank_, ranks_;
  const segments& all_;
  std::vector<const std::byte*> inputs_;
  std::vector<std::byte*> arena_in_, arena_out_, targets_;
};

}  // namespace entrain::comm::shared_memory
