// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda/space.hpp>

// Which part of an operand in device memory belongs to which rank: asked once a rank, in rank order.

namespace entrain::comm::nccl_detail {

// As many elements for each.
template <class T>
struct equal_pieces {
  view<T, cuda_space> whole;
  std::size_t each;
  view<T, cuda_space> operator()(int peer) const { return whole.subview(std::size_t(peer) * each, each); }
};

// counts[rank] elements, one rank's after the other's.
template <class T>
struct packed_pieces {
  view<T, cuda_space> whole;
  std::span<const std::size_t> counts;
  std::size_t from = 0;
  view<T, cuda_space> operator()(int peer) {
    const auto piece = whole.subview(from, counts[std::size_t(peer)]);
    from += piece.size();
    return piece;
  }
};

// All of it for one of them, or for each.
template <class T>
struct whole_piece {
  static constexpr int everyone = -1;
  view<T, cuda_space> whole;
  int only = everyone;
  view<T, cuda_space> operator()(int peer) const { return only == everyone || only == peer ? whole : view<T, cuda_space>{}; }
};

}  // namespace entrain::comm::nccl_detail
