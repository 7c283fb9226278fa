// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include <entrain/comm/watched/board.hpp>
#include <entrain/comm/watched/operation.hpp>

// The writing side: what a rank does on the path of each operation. Plain stores to its own row; no allocation, lock or
// system call.

namespace entrain::comm::watched_detail {

// Numbers the messages of each (group, peer, tag) on both sides, so that the k-th send and the k-th receive are known to be one
// message. When the table is full further ones stay unnumbered: they are watched, but not compared.
class message_counters {
 public:
  std::uint64_t next(std::uint32_t group, std::uint8_t kind, int peer, int tag) {
    const std::uint64_t key = (std::uint64_t(group) << 32 ^ std::uint64_t(std::uint32_t(tag)) << 12 ^ std::uint32_t(peer)) * 2 + (kind == send_kind ? 1 : 0);
    std::size_t at = (key * 0x9e3779b97f4a7c15u) >> 54;
    for (std::size_t tries = 0; tries < 64; ++tries, at = (at + 1) % table_.size()) {
      auto& one = table_[at];
      if (one.count != 0 && one.is(key, group, peer, tag)) return ++one.count;
      if (one.count == 0) {
        one = {key, group, peer, tag, 1};
        return 1;
      }
    }
    return 0;
  }

 private:
  struct entry {
    std::uint64_t key = 0;
    std::uint32_t group = 0;
    int peer = 0, tag = 0;
    std::uint64_t count = 0;
    bool is(std::uint64_t k, std::uint32_t g, int p, int t) const { return key == k && group == g && peer == p && tag == t; }
  };
  std::array<entry, 1024> table_{};
};

// Operations in flight, by ticket: the ring keeps an event for its capacity only, and only what is in it can be watched.
class rank_writer {
 public:
  rank_writer(const board& on, std::size_t row) : head_(&on.head(row)), lines_(on.lines_of(row)), ring_(on.ring(row)) {}
  rank_writer(const rank_writer&) = delete;
  rank_writer& operator=(const rank_writer&) = delete;

  // From the thread of the rank.
  void arrive(int rank, std::uint32_t world, int size) {
    head_->rank.store(std::uint32_t(rank), std::memory_order_relaxed);
    head_->thread.store(this_thread(), std::memory_order_relaxed);
    head_->process_started.store(status_of(this_process()).started, std::memory_order_relaxed);
    head_->since.store(monitor::steady_nanoseconds(), std::memory_order_relaxed);
    head_->process.store(this_process(), std::memory_order_release);
    open_line(world, rank, size);
    head_->state.store(presence::working, std::memory_order_release);
  }
  void leave(bool by_exception) {
    head_->since.store(monitor::steady_nanoseconds(), std::memory_order_relaxed);
    head_->state.store(by_exception ? presence::left_by_exception : presence::left, std::memory_order_release);
  }

  // Where the rank's progress in a group stands; one that nobody reads when there are too many groups.
  group_line& open_line(std::uint32_t group, int rank, int size) {
    group_line* found = nullptr;
    for (std::size_t i = 0; i < board::lines && !found; ++i)
      if (lines_[i].group.load(std::memory_order_relaxed) == 0) found = &lines_[i];
    for (std::size_t i = 0; i < board::lines && !found; ++i)
      if (lines_[i].left.load(std::memory_order_relaxed) == has_left) found = &lines_[i];
    if (!found) found = &unread_;
    found->group.store(0, std::memory_order_release);
    found->rank.store(std::uint32_t(rank), std::memory_order_relaxed), found->size.store(std::uint32_t(size), std::memory_order_relaxed);
    found->left.store(0, std::memory_order_relaxed);
    found->begun.store(0, std::memory_order_relaxed), found->completed.store(0, std::memory_order_relaxed);
    found->group.store(group, std::memory_order_release);
    return *found;
  }

  std::uint64_t begin_collective(group_line& line, event e) {
    e.sequence = line.begun.load(std::memory_order_relaxed) + 1;
    e.group = line.group.load(std::memory_order_relaxed);
    const auto ticket = ring_.begin(e);
    line.begun.store(e.sequence, std::memory_order_release);  // after the event: who reads this finds it
    return ticket;
  }
  std::uint64_t begin_message(const group_line& line, event e) {
    e.group = line.group.load(std::memory_order_relaxed);
    // Internal tags are used in turn: to count them all would take a table without end.
    e.sequence = e.tag < first_internal_tag ? messages_.next(e.group, e.operation, e.root, e.tag) : 0;
    return ring_.begin(e);
  }
  void await(std::uint64_t ticket) { ring_.await(ticket); }
  // line: of a collective, else null.
  void end(std::uint64_t ticket, group_line* line, std::uint64_t sequence) {
    ring_.end(ticket);
    if (line && line->completed.load(std::memory_order_relaxed) < sequence) line->completed.store(sequence, std::memory_order_release);
  }
  void fail(std::uint64_t ticket) { ring_.fail(ticket); }
  const monitor::event_ring& ring() const { return ring_; }

 private:
  row_head* head_;
  group_line* lines_;
  monitor::event_ring ring_;
  message_counters messages_;
  group_line unread_{};
};

}  // namespace entrain::comm::watched_detail
