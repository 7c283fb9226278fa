// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <entrain/comm/shared_memory/combine.hpp>
#include <entrain/comm/shared_memory/notice.hpp>

// One collective of one rank: what was asked for, and how it is cut into rounds. Every rank cuts alike, from what all
// agree on (kind, count, width, ranks); the cut never changes the result.

namespace entrain::comm::shared_memory {

struct call {
  notice what;
  const std::byte* in = nullptr;
  std::byte* out = nullptr;
  const std::size_t* counts = nullptr;  // all_gather_v: elements of each rank; lives as long as the operation
  combiner combine = nullptr;
};

struct operation : call {
  enum class way {
    direct,  // everyone stages its operands and reads what it needs: one synchronisation a round
    shares,  // all_reduce, reduce: rank r combines share r of each round, the others copy the result: two
    arena,   // operands are read where they lie, all in one round: two, since nobody may leave before he has been read
    fetch,   // so are operands in other processes' own memory, with the kernel's help (foreign.hpp)
  };

  std::size_t piece = 0;   // bytes of what is cut: a rank's part where parts are equal, else the whole
  std::size_t step = 0;    // bytes of a piece in one round
  std::uint64_t rounds = 1;
  std::uint64_t number = 0;  // of this group's operations
  way how = way::direct;
  bool twice = false;           // ranks meet a second time in a round: others read what a rank has made, or its own memory
  bool undecided = false;       // whether operands lie in arenas is known when all have met
  bool some_in_arenas = false;  // staged as usual, but some ranks' inputs are read where they lie
  bool done = false;
  operation* next = nullptr;

  std::size_t begin(std::uint64_t round) const { return std::size_t(round) * step; }
  std::size_t length(std::uint64_t round) const { return std::min(step, piece - begin(round)); }
};

// Collectives that read operands where they lie if that is an arena.
inline bool may_lie_in_arenas(collective kind) {
  return kind == collective::all_reduce || kind == collective::reduce_scatter || kind == collective::all_gather ||
         kind == collective::broadcast;
}

// Bytes that are a whole number of elements and, if that is not much, of cache lines.
inline std::size_t grain_of(const operation& op) {
  const std::size_t width = op.what.width;
  return width <= 4096 ? std::lcm(width, std::size_t(64)) : width;
}

// First byte of rank r's share of `bytes`; of no share is a cache line part that another rank writes, unless there is little.
inline std::size_t share_begin(const operation& op, std::size_t bytes, std::size_t r, std::size_t ranks) {
  if (r == ranks) return bytes;
  const std::size_t grain = grain_of(op), unit = bytes >= ranks * grain ? grain : std::size_t(op.what.width);
  return bytes / unit * r / ranks * unit;
}

// Measured on two cores with 2 MiB of second-level cache each. Longer chunks leave the caches, shorter ones mean more
// synchronisations; with many ranks those of all must fit.
struct cutting {
  std::size_t direct = 8 * 1024;   // all_reduce and reduce up to this: everyone combines everything
  std::size_t chunk = 128 * 1024;  // most bytes that a rank stages in a round; at most the room of a slot
  std::size_t fetch = 1024 * 1024;  // pieces longer than this have left the caches: one copy by the kernel beats two
};
inline cutting cutting_for(std::size_t ranks) {
  return ranks <= 2 ? cutting{} : cutting{.chunk = 64 * 1024};
}

// A broadcast is as quick through the caches, and among more ranks everything is.
inline bool may_be_fetched(collective kind, std::size_t ranks) { return kind == collective::all_gather && ranks == 2; }

inline void cut(operation& op, std::size_t ranks, const cutting& limits, bool can_fetch) {
  const std::size_t width = op.what.width;
  op.piece = std::size_t(op.what.count) * width;
  op.how = operation::way::direct, op.some_in_arenas = false;
  std::size_t most = limits.chunk;
  switch (op.what.kind) {
    case collective::reduce:
    case collective::all_reduce:
      op.how = op.piece <= limits.direct ? operation::way::direct : operation::way::shares;
      break;
    case collective::reduce_scatter:
    case collective::scatter:
    case collective::all_to_all:
      most /= ranks;
      break;
    case collective::all_gather_v:
      op.piece = *std::max_element(op.counts, op.counts + ranks) * width;
      break;
    default: break;
  }
  op.twice = op.how == operation::way::shares;
  if (can_fetch && may_be_fetched(op.what.kind, ranks) && op.piece > limits.fetch) {
    op.how = operation::way::fetch, op.twice = true, op.rounds = 1, op.step = op.piece;
    return;
  }
  const std::size_t grain = most >= grain_of(op) ? grain_of(op) : width;
  most = most / grain * grain;
  op.rounds = std::max<std::uint64_t>(1, (op.piece + most - 1) / most);
  const std::size_t even = (op.piece + op.rounds - 1) / op.rounds;  // rounds of equal length
  op.step = std::min(most, (even + grain - 1) / grain * grain);
  if (op.piece > 0) op.rounds = (op.piece + op.step - 1) / op.step;
}

}  // namespace entrain::comm::shared_memory
