// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Binomial tree reduction. Operands are combined in rank order, so the operation need not commute: the tree is rooted at
// rank 0 and the result moves to the root by one more message when that is another rank. Cost: ceil(log2 p) (+ 1) steps
// of the whole message; every rank but 0 sends once. Memory: one message.
namespace entrain::comm::algorithms {

template <communicator C, class T, class Op>
void binomial_reduce(C& c, view<const T> in, view<T> out, Op, int root) {
  const int p = c.size(), r = c.rank();
  const view<T> both = scratch<T>(2 * in.size());
  const view<T> received = both.subview(0, in.size());
  const view<T> acc = r == root ? out : both.subview(in.size(), in.size());
  copy(in, acc);
  for (int bit = 1; bit < p; bit *= 2) {
    if (r & bit) {
      c.start_send(view<const T>(acc), r - bit, tag::reduce).wait();
      break;
    }
    if (r + bit < p) {
      c.start_receive(received, r + bit, tag::reduce).wait();
      combine_into<Op>(acc, view<const T>(received));
    }
  }
  if (root == 0) return;
  if (r == 0) c.start_send(view<const T>(acc), root, tag::reduce).wait();
  if (r == root) c.start_receive(out, 0, tag::reduce).wait();
}

}  // namespace entrain::comm::algorithms
