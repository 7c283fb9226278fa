// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Ring all-gather: in step s rank r passes the piece of rank r - s on to r + 1. Cost: p - 1 steps, (p - 1)/p of the result
// sent by every rank. No further memory.
namespace entrain::comm::algorithms {

template <communicator C, class T, class Offset, class Length>
void ring_gather_pieces(C& c, view<T> out, Offset offset, Length length) {
  const int p = c.size(), r = c.rank();
  for (int s = 0; s < p - 1; ++s) {
    const int send = (r - s + p) % p, receive = (r - s - 1 + p) % p;
    auto arriving = c.start_receive(out.subview(offset(receive), length(receive)), (r - 1 + p) % p, tag::all_gather);
    auto leaving = c.start_send(view<const T>(out.subview(offset(send), length(send))), (r + 1) % p, tag::all_gather);
    leaving.wait();
    arriving.wait();
  }
}

template <communicator C, class T>
void ring_all_gather(C& c, view<const T> in, view<T> out) {
  const std::size_t n = in.size();
  copy(in, out.subview(n * std::size_t(c.rank()), n));
  ring_gather_pieces(c, out, [n](int k) { return n * std::size_t(k); }, [n](int) { return n; });
}

template <communicator C, class T>
void ring_all_gather_v(C& c, view<const T> in, view<T> out, std::span<const std::size_t> counts) {
  const auto length = [counts](int k) { return counts[std::size_t(k)]; };
  const auto offset = [counts](int k) {
    std::size_t sum = 0;
    for (int j = 0; j < k; ++j) sum += counts[std::size_t(j)];
    return sum;
  };
  copy(in, out.subview(offset(c.rank()), in.size()));
  ring_gather_pieces(c, out, offset, length);
}

}  // namespace entrain::comm::algorithms
