// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/shared_memory/combine.hpp>

// Copies to and from slots that know what a cache line costs which another core holds. To read it is one exchange between
// the cores; to write it afterwards is another, since the other core keeps a copy that must be dropped first. A line that
// will be written next by the one who reads it now is therefore asked for with the right to write (a prefetch for writing):
// one exchange instead of two. Asking a few lines ahead also keeps more of them on their way at once than the hardware's
// own prefetching does. Measured: 254 ns for a line there and back, 20 GB/s for reading what the other core has written,
// 23 GB/s for writing what it has read, 57 GB/s for copies inside a core's own cache.

namespace entrain::comm::shared_memory {

inline constexpr std::size_t ahead = 2048;  // bytes asked for while as many are worked on

inline void own_lines([[maybe_unused]] const std::byte* first, [[maybe_unused]] std::size_t bytes) {
#if defined(__GNUC__)
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(first + at, 1, 3);
#endif
}

inline void read_lines([[maybe_unused]] const std::byte* first, [[maybe_unused]] std::size_t bytes) {
#if defined(__GNUC__)
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(first + at, 0, 3);
#endif
}

// work(at, n) for pieces [at, at + n) of at most `grain` bytes, while ask(at, n) has asked for the piece after it.
template <class Ask, class Work>
void in_blocks(std::size_t bytes, std::size_t grain, Ask ask, Work work) {
  for (std::size_t at = 0; at < bytes; at += grain) {
    const std::size_t n = std::min(grain, bytes - at), after = at + n;
    if (after < bytes) ask(after, std::min(grain, bytes - after));
    work(at, n);
  }
}

// Into a slot whose lines others have read: asked for ahead.
inline void copy_to_slot(const std::byte* from, std::byte* slot, std::size_t bytes) {
  in_blocks(bytes, ahead, [&](std::size_t at, std::size_t n) { own_lines(slot + at, n); },
            [&](std::size_t at, std::size_t n) { copy_bytes(from + at, slot + at, n); });
}
// The same, and to a second place, while the slot's next lines are on their way.
inline void copy_to_slot_and(const std::byte* from, std::byte* slot, std::byte* also, std::size_t bytes) {
  in_blocks(bytes, ahead, [&](std::size_t at, std::size_t n) { own_lines(slot + at, n); },
            [&](std::size_t at, std::size_t n) {
              copy_bytes(from + at, slot + at, n);
              copy_bytes(from + at, also + at, n);
            });
}
// Out of another rank's slot or arena, which this rank does not write.
inline void read_from_slot(const std::byte* slot, std::byte* to, std::size_t bytes) {
  in_blocks(bytes, ahead, [&](std::size_t at, std::size_t n) { read_lines(slot + at, n); },
            [&](std::size_t at, std::size_t n) { copy_bytes(slot + at, to + at, n); });
}
// Out of a slot that others have written and this rank writes next.
inline void take_from_slot(const std::byte* slot, std::byte* to, std::size_t bytes) {
  in_blocks(bytes, ahead, [&](std::size_t at, std::size_t n) { own_lines(slot + at, n); },
            [&](std::size_t at, std::size_t n) { copy_bytes(slot + at, to + at, n); });
}

}  // namespace entrain::comm::shared_memory
