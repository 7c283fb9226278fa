// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include <entrain/core/dtype.hpp>

// What a rank did last: a ring of fixed size whose oldest events are overwritten.
//
//   monitor::event_ring ring(1024);
//   const auto ticket = ring.begin({.sequence = 12, .count = 10, .operation = 3, .type = dtype::f32});
//   ring.end(ticket);
//   for (const auto& e : ring.snapshot()) ...          // any thread, at any time
//
// One thread writes: no allocation, no lock, no system call; one cache line an event (two readings of the clock, some
// 60 ns). Any number of threads read while it is written: an event is read whole or not at all. The ring may lie in memory that
// is shared between processes (all zero bytes are an empty ring), so that others can read what a dead one did last.

namespace entrain::monitor {

// An operation of a rank, as plain data. What the numbers `operation`, `group` and `detail` mean is the writer's business
// (comm/watched/operation.hpp).
struct event {
  static constexpr std::int64_t in_flight = 0, awaited = 1;  // values of `end` before the end

  std::uint64_t sequence = 0;       // of the operations of its group
  std::uint64_t count = 0;          // elements
  std::int64_t start = 0, end = 0;  // nanoseconds of the steady clock; end < 0: it ended with an error, at -end
  std::uint32_t group = 0;
  std::int32_t root = -1;           // or the other side of a message; -1: none
  std::uint32_t element_bytes = 0;
  std::uint32_t detail = 0;
  std::int32_t tag = 0;
  std::uint8_t operation = 0;
  dtype type = dtype::bytes;
  std::uint64_t ticket = 0;         // its number in the ring, from 0; filled by the ring

  bool ended() const { return end != in_flight && end != awaited; }
  bool failed() const { return end < 0; }
  std::int64_t end_time() const { return end < 0 ? -end : end; }
  std::uint64_t bytes() const { return count * element_bytes; }
};

inline std::int64_t steady_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class event_ring {
  using word = std::atomic<std::uint64_t>;
  static_assert(word::is_always_lock_free);
  // version: 2 ticket + 1 while it is written, 2 ticket + 2 afterwards. The words are released one by one, so that a reader
  // that has seen a word of the next event sees that event's odd version too (a sequence lock without fences).
  struct alignas(64) cell {
    word version, sequence, count, start, end, place, width, kind;
  };
  struct alignas(64) header {
    word written;
  };

 public:
  // Events that it holds are `capacity` rounded up to a power of two, at least 8.
  static constexpr std::size_t rounded(std::size_t capacity) { return std::bit_ceil(std::max<std::size_t>(capacity, 8)); }
  static constexpr std::size_t bytes(std::size_t capacity) { return sizeof(header) + rounded(capacity) * sizeof(cell); }

  explicit event_ring(std::size_t capacity) : event_ring(nullptr, capacity) {
    owned_.reset(::operator new(bytes(capacity), std::align_val_t(64)), [](void* p) { ::operator delete(p, std::align_val_t(64)); });
    header_ = new (owned_.get()) header{};
    cells_ = reinterpret_cast<cell*>(header_ + 1);
    for (std::size_t i = 0; i <= mask_; ++i) new (cells_ + i) cell{};
  }
  // A ring in memory of bytes(capacity), aligned to 64, that was zero before its first use and outlives this. One writer.
  event_ring(void* memory, std::size_t capacity)
      : header_(static_cast<header*>(memory)), cells_(memory ? reinterpret_cast<cell*>(header_ + 1) : nullptr), mask_(rounded(capacity) - 1) {
    if (header_) next_ = header_->written.load(std::memory_order_acquire);
  }

  std::size_t capacity() const { return mask_ + 1; }
  // Events begun so far; the last capacity() of them can be read.
  std::uint64_t written() const { return header_->written.load(std::memory_order_acquire); }

  // For the writer. Returns the event's ticket. Times are filled in; `e.end` is kept.
  std::uint64_t begin(const event& e) { return begin(e, steady_nanoseconds()); }
  std::uint64_t begin(const event& e, std::int64_t start) {
    const std::uint64_t ticket = next_++;
    write(ticket, e, start);
    return ticket;
  }
  // Takes over an event of another ring, under its ticket there. Tickets of one call after another grow, but may leave some out.
  void mirror(const event& e) {
    next_ = std::max(next_, e.ticket + 1);
    write(e.ticket, e, e.start);
  }
  // Somebody waits for it.
  void await(std::uint64_t ticket) { set_end(ticket, event::awaited); }
  void end(std::uint64_t ticket) { set_end(ticket, steady_nanoseconds()); }
  void fail(std::uint64_t ticket) { set_end(ticket, -steady_nanoseconds()); }

  // For any thread: false where the event is not yet or no longer there.
  bool read(std::uint64_t ticket, event& out) const {
    constexpr auto acquire = std::memory_order_acquire;
    const cell& c = cells_[ticket & mask_];
    if (c.version.load(acquire) != 2 * ticket + 2) return false;
    out.sequence = c.sequence.load(acquire), out.count = c.count.load(acquire);
    out.start = std::int64_t(c.start.load(acquire)), out.end = std::int64_t(c.end.load(acquire));
    const auto place = c.place.load(acquire), width = c.width.load(acquire), kind = c.kind.load(acquire);
    if (c.version.load(acquire) != 2 * ticket + 2) return false;
    out.group = std::uint32_t(place >> 32), out.root = std::int32_t(std::uint32_t(place));
    out.element_bytes = std::uint32_t(width >> 32), out.detail = std::uint32_t(width);
    out.tag = std::int32_t(std::uint32_t(kind >> 32)), out.type = dtype(kind >> 8 & 0xff), out.operation = std::uint8_t(kind & 0xff);
    out.ticket = ticket;
    return true;
  }
  // The last events, oldest first; those that are overwritten meanwhile are left out. Reuses the memory of `out`.
  void snapshot(std::vector<event>& out, std::size_t at_most = std::size_t(-1)) const {
    out.clear();
    const std::uint64_t last = written(), some = std::min<std::uint64_t>({last, capacity(), at_most});
    event e;
    for (std::uint64_t ticket = last - some; ticket < last; ++ticket)
      if (read(ticket, e)) out.push_back(e);
  }
  std::vector<event> snapshot() const {
    std::vector<event> out;
    snapshot(out);
    return out;
  }

 private:
  void write(std::uint64_t ticket, const event& e, std::int64_t start) {
    constexpr auto release = std::memory_order_release;
    cell& c = cells_[ticket & mask_];
    c.version.store(2 * ticket + 1, std::memory_order_relaxed);
    c.sequence.store(e.sequence, release);
    c.count.store(e.count, release);
    c.start.store(std::uint64_t(start), release);
    c.end.store(std::uint64_t(e.end), release);
    c.place.store(std::uint64_t(e.group) << 32 | std::uint32_t(e.root), release);
    c.width.store(std::uint64_t(e.element_bytes) << 32 | e.detail, release);
    c.kind.store(std::uint64_t(std::uint32_t(e.tag)) << 32 | std::uint64_t(e.type) << 8 | e.operation, release);
    c.version.store(2 * ticket + 2, release);
    header_->written.store(next_, release);
  }
  void set_end(std::uint64_t ticket, std::int64_t value) {
    cell& c = cells_[ticket & mask_];
    if (next_ - ticket > capacity()) return;  // overwritten since
    c.end.store(std::uint64_t(value), std::memory_order_release);
  }

  std::shared_ptr<void> owned_;
  header* header_;
  cell* cells_;
  std::uint64_t mask_, next_ = 0;
};

}  // namespace entrain::monitor
