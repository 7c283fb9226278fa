// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Linear scatter: the root sends every rank its piece. Cost: p - 1 messages sent one after the other.
namespace entrain::comm::algorithms {

template <communicator C, class T>
void linear_scatter(C& c, view<const T> in, view<T> out, int root) {
  if (c.rank() != root) return c.start_receive(out, root, tag::scatter).wait();
  const std::size_t n = out.size();
  for (int r = 0; r < c.size(); ++r)
    if (r != root) c.start_send(in.subview(n * std::size_t(r), n), r, tag::scatter).wait();
  copy(in.subview(n * std::size_t(root), n), out);
}

}  // namespace entrain::comm::algorithms
