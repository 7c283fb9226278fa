// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/binary_tree_all_reduce.hpp>
#include <entrain/comm/algorithms/binomial_broadcast.hpp>
#include <entrain/comm/algorithms/binomial_gather.hpp>
#include <entrain/comm/algorithms/binomial_reduce.hpp>
#include <entrain/comm/algorithms/binomial_scatter.hpp>
#include <entrain/comm/algorithms/bruck_all_gather.hpp>
#include <entrain/comm/algorithms/bruck_all_gather_v.hpp>
#include <entrain/comm/algorithms/bruck_all_to_all.hpp>
#include <entrain/comm/algorithms/chain_broadcast.hpp>
#include <entrain/comm/algorithms/circulant_reduce_scatter.hpp>
#include <entrain/comm/algorithms/dissemination_barrier.hpp>
#include <entrain/comm/algorithms/double_binary_tree_all_reduce.hpp>
#include <entrain/comm/algorithms/halving_gather_reduce.hpp>
#include <entrain/comm/algorithms/hierarchical_all_reduce.hpp>
#include <entrain/comm/algorithms/linear_gather.hpp>
#include <entrain/comm/algorithms/linear_scatter.hpp>
#include <entrain/comm/algorithms/pairwise_all_to_all.hpp>
#include <entrain/comm/algorithms/pairwise_all_to_all_v.hpp>
#include <entrain/comm/algorithms/pairwise_reduce_scatter.hpp>
#include <entrain/comm/algorithms/rabenseifner_all_reduce.hpp>
#include <entrain/comm/algorithms/recursive_doubling_all_gather.hpp>
#include <entrain/comm/algorithms/recursive_doubling_all_reduce.hpp>
#include <entrain/comm/algorithms/recursive_halving_reduce_scatter.hpp>
#include <entrain/comm/algorithms/ring_all_gather.hpp>
#include <entrain/comm/algorithms/ring_all_gather_v.hpp>
#include <entrain/comm/algorithms/ring_all_reduce.hpp>
#include <entrain/comm/algorithms/ring_reduce_scatter.hpp>
#include <entrain/comm/algorithms/scatter_doubling_broadcast.hpp>
#include <entrain/comm/algorithms/scatter_ring_broadcast.hpp>
#include <entrain/comm/algorithms/swing_all_reduce.hpp>

// All algorithms, by collective: what selection chooses from, explain lists and tests check. To add one, add a line. Each collective has one that fits
// every problem and keeps order. Of two that cost the same the first is taken.

namespace entrain::comm {

namespace algorithms::table {
using entry = const algorithm*;
inline constexpr entry barrier[] = {&dissemination_barrier};
inline constexpr entry broadcast[] = {&binomial_broadcast, &scatter_doubling_broadcast, &scatter_ring_broadcast, &chain_broadcast};
inline constexpr entry reduce[] = {&binomial_reduce, &halving_gather_reduce};
inline constexpr entry all_reduce[] = {&recursive_doubling_all_reduce, &rabenseifner_all_reduce, &ring_all_reduce, &swing_all_reduce, &hierarchical_all_reduce,
                                       &binary_tree_all_reduce, &double_binary_tree_all_reduce};
inline constexpr entry reduce_scatter[] = {&recursive_halving_reduce_scatter, &pairwise_reduce_scatter, &ring_reduce_scatter, &circulant_reduce_scatter};
inline constexpr entry all_gather[] = {&recursive_doubling_all_gather, &bruck_all_gather, &ring_all_gather};
inline constexpr entry all_gather_v[] = {&bruck_all_gather_v, &ring_all_gather_v};
inline constexpr entry gather[] = {&binomial_gather, &linear_gather};
inline constexpr entry scatter[] = {&binomial_scatter, &linear_scatter};
inline constexpr entry all_to_all[] = {&pairwise_all_to_all, &bruck_all_to_all};
inline constexpr entry all_to_all_v[] = {&pairwise_all_to_all_v};
}  // namespace algorithms::table

constexpr std::span<const algorithm* const> algorithms_of(collective kind) {
  namespace t = algorithms::table;
  switch (kind) {
    case collective::barrier: return t::barrier;
    case collective::broadcast: return t::broadcast;
    case collective::reduce: return t::reduce;
    case collective::all_reduce: return t::all_reduce;
    case collective::reduce_scatter: return t::reduce_scatter;
    case collective::all_gather: return t::all_gather;
    case collective::all_gather_v: return t::all_gather_v;
    case collective::gather: return t::gather;
    case collective::scatter: return t::scatter;
    case collective::all_to_all: return t::all_to_all;
    case collective::all_to_all_v: return t::all_to_all_v;
  }
  return {};
}

}  // namespace entrain::comm
