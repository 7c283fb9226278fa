// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Linear gather: every rank sends its piece to the root. Cost: p - 1 messages received one after the other.
namespace entrain::comm::algorithms {

template <communicator C, class T>
void linear_gather(C& c, view<const T> in, view<T> out, int root) {
  if (c.rank() != root) return c.start_send(in, root, tag::gather).wait();
  const std::size_t n = in.size();
  copy(in, out.subview(n * std::size_t(root), n));
  for (int r = 0; r < c.size(); ++r)
    if (r != root) c.start_receive(out.subview(n * std::size_t(r), n), r, tag::gather).wait();
}

}  // namespace entrain::comm::algorithms
