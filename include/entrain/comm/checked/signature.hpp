// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/traits.hpp>
#include <entrain/core/dtype.hpp>

// What a rank says about the collective it is about to enter, and the sentence for ranks that say different things:
//
//   checked all_reduce #12: rank 2 called broadcast of 10 f32 where ranks 0, 1, 3 called all_reduce of 10 f32

namespace entrain::comm::checked_detail {

inline constexpr std::int32_t split_kind = -1;  // beside comm::collective: making sub-groups

struct signature {
  std::uint64_t sequence = 0;      // of this rank's collectives in this group
  std::uint64_t count = 0;         // elements (of the whole operand, as `traffic` counts them)
  std::uint64_t layout = 0;        // hash of the counts of all_gather_v
  std::uint64_t for_receiver = 0;  // elements that this rank will send to the one that reads this, all_to_all_v
  std::int32_t kind = 0;
  std::int32_t root = -1;
  std::uint32_t element_bytes = 0;
  std::uint32_t type = 0;
  char operation[24] = {};
  char pieces[40] = {};  // the counts of all_gather_v as far as they fit, for the message

  bool agrees_with(const signature& other) const {
    return sequence == other.sequence && count == other.count && layout == other.layout && kind == other.kind && root == other.root &&
           element_bytes == other.element_bytes && type == other.type && std::strncmp(operation, other.operation, sizeof operation) == 0;
  }
};

// The signature of `kind` on elements T under Op (an operation or no_operation).
template <class T, class Op>
signature signature_of(collective kind, std::size_t count, int root = -1) {
  signature s;
  s.kind = std::int32_t(kind), s.count = count, s.root = root;
  s.element_bytes = sizeof(T), s.type = std::uint32_t(dtype_of<T>::value);
  if constexpr (requires { Op::name; }) {
    const std::string_view name = Op::name;
    std::copy_n(name.data(), std::min(name.size(), sizeof s.operation - 1), s.operation);
  }
  return s;
}

inline void add_layout(signature& s, std::span<const std::size_t> counts) {
  std::string text;
  s.layout = 0xcbf29ce484222325u;  // FNV-1a
  for (const auto count : counts) {
    s.layout = (s.layout ^ count) * 0x100000001b3u;
    text += (text.empty() ? "" : ", ") + std::to_string(count);
  }
  if (text.size() >= sizeof s.pieces) text.replace(sizeof s.pieces - 4, std::string::npos, "...");
  text.copy(s.pieces, sizeof s.pieces - 1);
}

inline std::string kind_name(const signature& s) {
  return s.kind == split_kind ? std::string("split") : std::string(name_of(collective(s.kind)));
}

// "all_reduce of 10 f32"; with details: "all_reduce of 10 f32 (sum)", "broadcast of 10 f32 from root 1".
inline std::string describe(const signature& s, bool details) {
  std::string out = kind_name(s);
  if (s.kind == split_kind || s.kind == std::int32_t(collective::barrier)) return out;
  if (s.kind != std::int32_t(collective::all_to_all_v)) out += " of " + std::to_string(s.count);
  else out += " of";
  out += " ";
  if (dtype(s.type) == dtype::bytes) out += std::to_string(s.element_bytes) + "-byte elements";
  else out += name_of(dtype(s.type));
  if (!details) return out;
  if (s.operation[0] != 0) out += " (" + std::string(s.operation) + ")";
  if (s.root >= 0) out += " with root " + std::to_string(s.root);
  if (s.pieces[0] != 0) out += " in pieces of " + std::string(s.pieces);
  return out;
}

inline std::string ranks_text(const std::vector<int>& ranks) {
  std::string out = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) out += (i ? ", " : "") + std::to_string(ranks[i]);
  return out;
}

// Which ranks differ from the most, in one sentence; empty if all agree.
inline std::string disagreement(std::span<const signature> all) {
  std::vector<std::vector<int>> camps;
  for (int rank = 0; rank < int(all.size()); ++rank) {
    const auto same = [&](const auto& camp) { return all[std::size_t(camp.front())].agrees_with(all[std::size_t(rank)]); };
    if (auto camp = std::find_if(camps.begin(), camps.end(), same); camp != camps.end()) camp->push_back(rank);
    else camps.push_back({rank});
  }
  if (camps.size() == 1) return {};
  std::stable_sort(camps.begin(), camps.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  const auto said = [&](const auto& camp, bool details) { return describe(all[std::size_t(camp.front())], details); };
  bool details = false;  // only where the short form does not tell the camps apart
  for (std::size_t i = 1; i < camps.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) details = details || said(camps[i], false) == said(camps[j], false);
  std::string out;
  for (std::size_t i = 1; i < camps.size(); ++i) out += (i > 1 ? ", " : "") + ranks_text(camps[i]) + " called " + said(camps[i], details);
  return out + " where " + ranks_text(camps.front()) + " called " + said(camps.front(), details);
}

}  // namespace entrain::comm::checked_detail
