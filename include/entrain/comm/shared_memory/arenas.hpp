// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <entrain/comm/shared_memory/notice.hpp>

// Memory of the user's that all ranks of a group can reach: operands that lie in it are read where they are, and results
// are written where they belong. Processes see an arena at different addresses, so an operand is named by (arena, offset);
// arenas are numbered in the order in which they were made, which is the same on all ranks.

namespace entrain::comm::shared_memory {

class arenas {
 public:
  struct part {
    std::byte* base = nullptr;
    std::size_t bytes = 0;
  };

  // parts: of all ranks, in order.
  std::size_t add(std::vector<part> parts) {
    known_.push_back(std::move(parts));
    return known_.size() - 1;
  }
  void remove(std::size_t number) {
    known_[number].clear();
    while (!known_.empty() && known_.back().empty()) known_.pop_back();
  }
  bool empty() const { return known_.empty(); }

  // The name of [data, data + bytes) in this rank's part of an arena, or `nowhere`.
  std::uint64_t name_of(const std::byte* data, std::size_t bytes, int rank) const {
    const auto first = reinterpret_cast<std::uintptr_t>(data);
    for (std::size_t number = 0; number < known_.size(); ++number) {
      if (known_[number].empty()) continue;
      const auto& own = known_[number][std::size_t(rank)];
      const auto base = reinterpret_cast<std::uintptr_t>(own.base);
      if (first >= base && first - base <= own.bytes && bytes <= own.bytes - (first - base))
        return std::uint64_t(number) << offset_bits | (first - base);
    }
    return nowhere;
  }
  std::byte* address_of(std::uint64_t name, int rank) const {
    return known_[std::size_t(name >> offset_bits)][std::size_t(rank)].base + (name & ((std::uint64_t{1} << offset_bits) - 1));
  }

 private:
  static constexpr int offset_bits = 44;  // 16 TiB a rank, and a million arenas
  std::vector<std::vector<part>> known_;
};

}  // namespace entrain::comm::shared_memory
