// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/all_gather.hpp>
#include <entrain/comm/algorithms/broadcast.hpp>
#include <entrain/comm/algorithms/reduce.hpp>
#include <entrain/comm/algorithms/reduce_scatter.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/core/batch.hpp>

// Ring all-reduce (Patarasuk & Yuan 2009): ring reduce-scatter, then ring all-gather, over p nearly equal pieces. Cost:
// 2 (p - 1) steps, 2 (p - 1)/p of the message sent by every rank: the least possible. Memory: two pieces. An operation
// that does not commute goes by a tree in rank order and a broadcast.
namespace entrain::comm::algorithms {

template <communicator C, class T, class Op>
void ring_all_reduce(C& c, view<const T> in, view<T> out, Op op) {
  if constexpr (Op::commutative) {
    const std::size_t n = in.size(), p = std::size_t(c.size());
    const auto offset = [=](int k) { return nth_part(n, std::size_t(k), p).first; };
    const auto length = [=](int k) { return nth_part(n, std::size_t(k), p).count; };
    ring_reduce_pieces<Op>(c, in, out.subview(offset(c.rank()), length(c.rank())), offset, length, length(0));
    ring_gather_pieces(c, out, offset, length);
  } else {
    binomial_reduce(c, in, out, op, 0);
    binomial_broadcast(c, out, 0);
  }
}

}  // namespace entrain::comm::algorithms
