// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Dissemination barrier (Hensgen, Finkel, Manber 1988): in round k rank r tells r + 2^k and hears from r - 2^k. Any number
// of ranks. Cost: ceil(log2 p) rounds, one message of 1 byte a rank and round.
namespace entrain::comm::algorithms {

template <communicator C>
void dissemination_barrier(C& c) {
  const int p = c.size(), r = c.rank();
  const std::byte out{};
  std::byte in{};
  for (int distance = 1; distance < p; distance *= 2) {
    auto incoming = c.start_receive(view<std::byte>(&in, 1), (r - distance % p + p) % p, tag::barrier);
    auto outgoing = c.start_send(view<const std::byte>(&out, 1), (r + distance) % p, tag::barrier);
    outgoing.wait();
    incoming.wait();
  }
}

}  // namespace entrain::comm::algorithms
