// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/comm/traits.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// The meeting place of one collective: every rank publishes its operands in its entry and counts itself in; the last to
// arrive compares what was asked for and opens the slot; then each reads the others' memory. Slots form a ring: operation
// number s of a group uses slot s modulo the ring's length, once all ranks are done with the slot's former use. All
// counters only grow (by the number of ranks a use), so nothing has to be reset but the task counters, which the last to
// arrive sets before it opens the slot.

namespace entrain::comm::threads_detail {

// What a rank asked for; must be the same on all ranks.
struct request_signature {
  collective kind = collective::barrier;
  dtype type = dtype::bytes;
  std::uint32_t width = 0;          // bytes of an element
  int root = -1;                    // -1: has none
  std::uint64_t count = 0;          // elements; of every rank's part where parts are equal, else of the whole
  const void* operation = nullptr;  // identity of the reduction operation
  std::string_view operation_name{};

  bool operator==(const request_signature& other) const {
    return kind == other.kind && type == other.type && width == other.width && root == other.root && count == other.count &&
           operation == other.operation;
  }
  std::string text() const {
    std::string out(name_of(kind));
    if (kind == collective::barrier) return out;
    out += entrain::detail::text(" of ", count, " ", name_of(type));
    if (type == dtype::bytes) out += entrain::detail::text("[", width, "]");
    if (operation) out += " with " + std::string(operation_name);
    if (root >= 0) out += entrain::detail::text(" at root ", root);
    return out;
  }
};

template <class Op> inline constexpr char identity_of = 0;

// One rank's part of a slot.
struct alignas(buffer_alignment) slot_entry {
  static constexpr std::size_t small_bytes = 256;  // inputs up to this size are copied here, and the sender is free at once

  std::atomic<std::uint64_t> arrivals{0};  // number of the operation last published here, plus one
  request_signature what;
  const void* in = nullptr;
  void* out = nullptr;
  const std::size_t* send = nullptr;  // all_to_all_v
  std::size_t in_count = 0;
  alignas(buffer_alignment) std::byte small[small_bytes];
};

struct slot {
  alignas(buffer_alignment) std::atomic<std::uint64_t> arrived{0};
  alignas(buffer_alignment) std::atomic<std::uint64_t> open{0};  // 1 + how often the slot has been used before
  std::uint64_t tasks = 0;                                       // of a reduction: pieces that any rank may take
  alignas(buffer_alignment) std::atomic<std::uint64_t> next_task{0};
  alignas(buffer_alignment) std::atomic<std::uint64_t> finished_tasks{0};
  alignas(buffer_alignment) std::atomic<std::uint64_t> done{0};  // ranks that no longer touch the others' memory or this slot
};

}  // namespace entrain::comm::threads_detail
