// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Binomial tree broadcast. Cost: ceil(log2 p) steps of the whole message; p - 1 messages in all, the root sends
// ceil(log2 p) of them.
namespace entrain::comm::algorithms {

template <communicator C, class T>
void binomial_broadcast(C& c, view<T> data, int root) {
  const int p = c.size(), relative = (c.rank() - root + p) % p;
  int bit = 1;
  for (; bit < p; bit *= 2)
    if (relative & bit) {
      c.start_receive(data, (relative - bit + root) % p, tag::broadcast).wait();
      break;
    }
  for (bit /= 2; bit > 0; bit /= 2)
    if (relative + bit < p) c.start_send(view<const T>(data), (relative + bit + root) % p, tag::broadcast).wait();
}

}  // namespace entrain::comm::algorithms
