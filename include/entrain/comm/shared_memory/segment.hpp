// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include <entrain/comm/shared_memory/notice.hpp>

// The memory that a rank shows to the others: three counters, and a ring of slots with a notice and room for operands.
//
//   [counters][notice 0 .. notice S-1] .. [room 0][room 1] .. [room S-1]      the rooms begin on a page
//
// Work goes by rounds, numbered from 0 through the life of the group; round k uses slot k modulo S. A rank writes only its
// own segment (the arenas of arenas.hpp excepted) and reads all. Its counters say how far it has come:
//
//   entered   rounds for which its notice and operands lie in its slots
//   worked    rounds for which it has read the others' operands and its results, if others want them, lie in its slots
//   left      rounds of which it reads nothing any more: their slots may be written again once all have left
//   gone      not 0 when it takes no further part: 1 more than the number in the whole job of the rank that failed first, of those it
//             knows. Who waits for it gives up
//
// They only grow. Each is stored with release after the writes (or reads) that it announces, and loaded with acquire
// before the reads (or writes) that rely on it: so no lock, no read-modify-write, and each line has one writer.
// Atomics of 64 bits are free of locks on everything we support, and then mean the same between processes.

namespace entrain::comm::shared_memory {

inline constexpr std::size_t line = 128;  // two cache lines: processors fetch them in pairs

struct alignas(line) counters {
  std::atomic<std::uint64_t> entered{0}, worked{0}, left{0}, gone{0};
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
};
struct alignas(line) posted_notice : notice {};

struct shape {
  std::size_t slots = 2;
  std::size_t room = std::size_t(128) << 10;  // bytes of operands in a slot, a multiple of `line`

  std::size_t first_room() const { return (sizeof(counters) + slots * sizeof(posted_notice) + 4095) / 4096 * 4096; }
  std::size_t bytes() const { return first_room() + slots * room; }
};

// One rank's segment as somebody sees it. Before first use its owner constructs it, and all ranks wait for each other.
class segment {
 public:
  segment(std::byte* base, const shape& s) : base_(base), shape_(s) {}
  static void construct(std::byte* base, const shape& s) {
    new (base) counters;
    for (std::size_t i = 0; i < s.slots; ++i) new (base + sizeof(counters) + i * sizeof(posted_notice)) posted_notice;
  }
  counters& progress() const { return *std::launder(reinterpret_cast<counters*>(base_)); }
  posted_notice& post(std::uint64_t round) const {
    return *std::launder(reinterpret_cast<posted_notice*>(base_ + sizeof(counters) + round % shape_.slots * sizeof(posted_notice)));
  }
  std::byte* room(std::uint64_t round) const { return base_ + shape_.first_room() + round % shape_.slots * shape_.room; }

 private:
  std::byte* base_;
  shape shape_;
};

using segments = std::vector<segment>;  // one a rank

}  // namespace entrain::comm::shared_memory
