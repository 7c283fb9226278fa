// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/core/memory.hpp>

// Placement: what a rank's copy of a value means to the group. It is part of the view's type; the collectives in
// comm/placed.hpp are the only conversions, and an optimizer takes only what is settled, so that a gradient which has
// not been summed, or has been summed twice, does not compile.
//
//   partial     every rank holds a summand, the value is their sum            --all_reduce-->     replicated
//   replicated  every rank holds the whole value                              --reduce_scatter--> sharded (from partial)
//   sharded     every rank holds its own piece, the value is their union      --all_gather-->     replicated

namespace entrain {

struct partial {};
struct replicated {};
struct sharded {};

// `offset`: where these elements lie in the arena.
template <class T, class Placement, memory_space Space = host_space>
struct placed {
  view<T, Space> values;
  std::size_t offset = 0;
};

template <class P>
concept settled_placement = std::same_as<P, replicated> || std::same_as<P, sharded>;

}  // namespace entrain
