// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/watched/pages.hpp>
#include <entrain/comm/watched/process.hpp>
#include <entrain/monitor/event_ring.hpp>

// The board: memory that all ranks of a node share and in which each rank writes, in its own row, who it is, how far it has
// come in each of its groups, and its ring of events. All ranks of the node read it, also after the writer has died.
//
//   header | row | row | ...        row: head, `lines` group lines, ring of events

namespace entrain::comm::watched_detail {

enum class presence : std::uint32_t { expected, working, left, left_by_exception };

struct alignas(64) row_head {
  static constexpr std::uint32_t own = 0, unknown = 1, known = 2, lost = 3;  // values of `mirrored`

  std::atomic<std::uint32_t> rank, process, thread;
  std::atomic<presence> state;
  std::atomic<std::uint32_t> mirrored, dead, letter;  // of a rank of another node: what its node says
  std::atomic<std::uint64_t> process_started;
  std::atomic<std::int64_t> since;  // of the state
  std::atomic<std::int64_t> heard;  // mirrored: when news came last
};

// How far a rank has come in a group. 0 is no group.
struct group_line {
  std::atomic<std::uint32_t> group, rank, size, left;
  std::atomic<std::uint64_t> begun, completed;  // sequence of its latest collective
};
inline constexpr std::uint32_t leaving = 1, has_left = 2;  // values of `left`

struct alignas(64) board_header {
  std::atomic<std::uint32_t> reporter;  // 1 + the rank that has found the failure and tells of it
};

class board {
 public:
  static constexpr std::size_t lines = 32;  // groups that a rank may be in at once; a further one is not watched

  static std::size_t row_bytes(std::size_t events) {
    return sizeof(row_head) + lines * sizeof(group_line) + monitor::event_ring::bytes(events);
  }
  static constexpr std::size_t mirrored_events = 16;  // of a rank of another node
  static constexpr std::size_t none = std::size_t(-1);

  static std::size_t bytes(std::size_t own, std::size_t mirrored, std::size_t events) {
    return sizeof(board_header) + own * row_bytes(events) + mirrored * row_bytes(mirrored_events);
  }

  // Rows of the ranks of this node first, then those of the others.
  board(pages memory, std::size_t own, std::size_t mirrored, std::size_t events)
      : memory_(std::move(memory)), own_(own), rows_(own + mirrored), events_(events) {}

  std::size_t rows() const { return rows_; }
  std::size_t own_rows() const { return own_; }
  bool is_known(std::size_t row) const { return row < own_ || head(row).mirrored.load(std::memory_order_acquire) >= row_head::known; }
  bool is_lost(std::size_t row) const { return row >= own_ && head(row).mirrored.load(std::memory_order_acquire) == row_head::lost; }
  // The row of a rank of another node; `none` for this node's.
  std::size_t mirror_of(int rank) const {
    for (std::size_t row = own_; row < rows_; ++row)
      if (int(head(row).rank.load(std::memory_order_relaxed)) == rank) return row;
    return none;
  }
  board_header& header() const { return *static_cast<board_header*>(memory_.data()); }
  row_head& head(std::size_t row) const { return *reinterpret_cast<row_head*>(at(row)); }
  group_line* lines_of(std::size_t row) const { return reinterpret_cast<group_line*>(at(row) + sizeof(row_head)); }
  monitor::event_ring ring(std::size_t row) const {
    return monitor::event_ring(at(row) + sizeof(row_head) + lines * sizeof(group_line), row < own_ ? events_ : mirrored_events);
  }

 private:
  char* at(std::size_t row) const {
    const std::size_t before = std::min(row, own_);
    return static_cast<char*>(memory_.data()) + sizeof(board_header) + before * row_bytes(events_) + (row - before) * row_bytes(mirrored_events);
  }
  pages memory_;
  std::size_t own_, rows_, events_;
};

// What the board said at one moment, in plain data: what the diagnosis works on.
struct line_picture {
  std::uint32_t group = 0;
  int rank = 0, size = 0;
  std::uint32_t left = 0;
  std::uint64_t begun = 0, completed = 0;
};
struct rank_picture {
  int rank = 0;
  unsigned process = 0, thread = 0;
  presence state = presence::expected;
  std::int64_t since = 0;
  bool dead = false;
  bool lost = false;        // the connection to its node has ended
  std::int64_t heard = 0;   // of a rank of another node: when news came last
  char letter = 0;  // of process_status
  std::uint64_t written = 0;
  std::vector<line_picture> lines;
  std::vector<event> events;

  bool stopped() const { return letter == 'T' || letter == 't'; }
  bool gone() const { return dead || state == presence::left || state == presence::left_by_exception; }
};
struct picture {
  std::int64_t now = 0;
  std::vector<rank_picture> all;  // the ranks that are known, in order
  std::vector<int> unknown;       // ranks of other nodes that have not been heard
  std::int64_t silence = 0;       // longer without news from another node is not usual
};

inline bool is_dead(const row_head& head) {
  const auto process = head.process.load(std::memory_order_acquire);
  if (process == 0 || process == this_process()) return false;
  const auto now = status_of(process);
  return now.letter == 0 || now.letter == 'Z' || now.letter == 'X' || now.started != head.process_started.load(std::memory_order_relaxed);
}

inline void take_picture(const board& from, std::size_t row, rank_picture& out, bool with_events = true) {
  const auto& head = from.head(row);
  out.state = head.state.load(std::memory_order_acquire);
  out.rank = int(head.rank.load(std::memory_order_relaxed));
  out.process = head.process.load(std::memory_order_relaxed), out.thread = head.thread.load(std::memory_order_relaxed);
  out.since = head.since.load(std::memory_order_relaxed);
  out.lines.clear();
  for (std::size_t i = 0; i < board::lines; ++i) {
    const auto& line = from.lines_of(row)[i];
    line_picture p;
    p.group = line.group.load(std::memory_order_acquire);
    if (p.group == 0) continue;
    p.rank = int(line.rank.load(std::memory_order_relaxed)), p.size = int(line.size.load(std::memory_order_relaxed));
    p.left = line.left.load(std::memory_order_relaxed);
    p.completed = line.completed.load(std::memory_order_acquire), p.begun = line.begun.load(std::memory_order_acquire);
    out.lines.push_back(p);
  }
  const auto ring = from.ring(row);
  out.written = ring.written();
  if (with_events) ring.snapshot(out.events);
}

// What is known of its process.
inline void take_status(const board& from, std::size_t row, rank_picture& one) {
  const auto& head = from.head(row);
  if (row < from.own_rows()) {
    one.dead = is_dead(head);
    one.letter = !one.dead && one.process != 0 ? status_of(one.process, one.thread).letter : char(0);
  } else {
    one.dead = head.dead.load(std::memory_order_relaxed) != 0, one.lost = from.is_lost(row);
    one.heard = head.heard.load(std::memory_order_relaxed);
    one.letter = char(head.letter.load(std::memory_order_relaxed));
  }
}

// With the state of the processes: for an alarm, not for each look.
inline picture take_picture(const board& from) {
  picture out;
  for (std::size_t row = 0; row < from.rows(); ++row) {
    if (!from.is_known(row)) {
      out.unknown.push_back(int(from.head(row).rank.load(std::memory_order_relaxed)));
      continue;
    }
    auto& one = out.all.emplace_back();
    take_picture(from, row, one);
    take_status(from, row, one);
  }
  std::sort(out.all.begin(), out.all.end(), [](const rank_picture& a, const rank_picture& b) { return a.rank < b.rank; });
  out.now = monitor::steady_nanoseconds();
  return out;
}

}  // namespace entrain::comm::watched_detail
