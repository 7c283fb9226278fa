// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <entrain/comm/traits.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>

// What a rank says about the collective that it enters. It lies in shared memory beside the operand, so that every rank
// compares it with its own when they meet; ranks that disagree become a sentence instead of a hang.

namespace entrain::comm::shared_memory {

inline constexpr std::uint64_t nowhere = ~std::uint64_t{0};

struct notice {
  collective kind = collective::barrier;
  dtype type = dtype::bytes;
  std::uint32_t width = 1;      // bytes of an element
  std::int32_t root = -1;       // -1: has none
  std::uint64_t count = 0;      // elements of one rank's part where parts are equal, else of the whole
  std::uint64_t operation = 0;  // hash of the reduction's name; 0: none
  std::uint64_t layout = 0;     // hash of the counts of all_gather_v
  // Where the operands lie if all of them lie in arenas that the others can read (arenas.hpp); differs from rank to rank. Of what can be
  // fetched (foreign.hpp), which has no output that others write, out is the address of the input.
  std::uint64_t in = nowhere, out = nowhere;
  char operation_name[24] = {};  // read only to make the sentence

  bool agrees_with(const notice& other) const {
    return kind == other.kind && type == other.type && width == other.width && root == other.root && count == other.count &&
           operation == other.operation && layout == other.layout;
  }
  std::string text() const {
    std::string words(name_of(kind));
    if (kind == collective::barrier) return words;
    words += entrain::detail::text(" of ", count, " ", name_of(type));
    if (type == dtype::bytes) words += entrain::detail::text("[", width, "]");
    if (operation != 0) words += std::string(" with ") + operation_name;
    if (root >= 0) words += entrain::detail::text(" at root ", root);
    return words;
  }
};

constexpr std::uint64_t hash_step(std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * 0x100000001b3u; }  // FNV-1a
constexpr std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char letter : name) hash = hash_step(hash, std::uint8_t(letter));
  return hash;
}
inline std::uint64_t hash_of(std::span<const std::size_t> counts) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const std::size_t count : counts) hash = hash_step(hash, count);
  return hash;
}

template <class T, class Op = no_operation>
notice describe(collective kind, std::size_t count, int root = -1) {
  notice out{.kind = kind, .type = dtype_of<T>::value, .width = std::uint32_t(sizeof(T)), .root = root, .count = count};
  if constexpr (!std::is_same_v<Op, no_operation>) {
    constexpr std::string_view name = Op::name;
    constexpr std::uint64_t hash = hash_of(name);
    out.operation = hash;
    std::memcpy(out.operation_name, name.data(), std::min(name.size(), sizeof(out.operation_name) - 1));
  }
  return out;
}

}  // namespace entrain::comm::shared_memory
