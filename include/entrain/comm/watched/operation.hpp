// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/operations.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/monitor/event_ring.hpp>

// How operations stand in events (monitor/event_ring.hpp), and in words: `operation` is the number of a comm::collective or one
// of the three below; `detail` is a hash of the reduction's name; `root` is the root, or the other side of a message;
// `sequence` counts a group's collectives, and the messages of one (sender, receiver, tag), from 1.

namespace entrain::comm::watched_detail {

using monitor::event;

inline constexpr std::uint8_t split_kind = 250, send_kind = 251, receive_kind = 252;

constexpr bool is_message(const event& e) { return e.operation >= send_kind; }

constexpr std::uint32_t hash_of(std::string_view text) {
  std::uint32_t h = 0x811c9dc5u;  // FNV-1a
  for (const char c : text) h = (h ^ std::uint8_t(c)) * 0x01000193u;
  return h;
}
template <class Op>
constexpr std::uint32_t reduction_hash() {
  if constexpr (requires { Op::name; }) return hash_of(Op::name);
  else return 0;
}

inline std::string_view operation_name(std::uint8_t operation) {
  switch (operation) {
    case split_kind: return "split";
    case send_kind: return "send";
    case receive_kind: return "receive";
    default: return name_of(collective(operation));
  }
}
inline std::string reduction_name(std::uint32_t hash) {
  for (const std::string_view name : {sum::name, product::name, maximum::name, minimum::name})
    if (hash_of(name) == hash) return std::string(name);
  return "another reduction";
}

// Ranks must agree in these. The sizes of all_to_all_v differ from rank to rank.
inline bool same_call(const event& a, const event& b) {
  if (a.operation != b.operation || a.type != b.type || a.element_bytes != b.element_bytes || a.root != b.root) return false;
  return a.detail == b.detail && (a.count == b.count || a.operation == std::uint8_t(collective::all_to_all_v));
}

// "5 f32", "3 12-byte elements"
inline std::string amount(const event& e) {
  const auto type = e.type == dtype::bytes ? std::to_string(e.element_bytes) + "-byte elements" : std::string(name_of(e.type));
  return std::to_string(e.count) + " " + type;
}
// "all_reduce of 10 f32"; with details: "all_reduce of 10 f32 (sum)", "broadcast of 10 f32 with root 1". No messages.
inline std::string call_text(const event& e, bool details) {
  std::string out(operation_name(e.operation));
  if (e.operation == split_kind || e.operation == std::uint8_t(collective::barrier)) return out;
  out += " of " + amount(e);
  if (details && e.detail != 0) out += " (" + reduction_name(e.detail) + ")";
  if (details && e.root >= 0) out += " with root " + std::to_string(e.root);
  return out;
}

// "rank 2", "ranks 0, 1, 3"
inline std::string ranks_text(const std::vector<int>& ranks) {
  std::string out = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) out += (i ? ", " : "") + std::to_string(ranks[i]);
  return out;
}

// "0.9 s"
inline std::string seconds_text(std::int64_t nanoseconds) {
  const auto tenths = (nanoseconds + 50'000'000) / 100'000'000;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace entrain::comm::watched_detail
