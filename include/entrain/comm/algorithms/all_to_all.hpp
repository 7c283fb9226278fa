// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Pairwise all-to-all: in step s rank r sends to r + s and receives from r - s. Cost: p - 1 steps, (p - 1)/p of the input sent.
namespace entrain::comm::algorithms {

template <communicator C, class T, class SendOffset, class SendLength, class ReceiveOffset, class ReceiveLength>
void pairwise_pieces(C& c, view<const T> in, SendOffset send_offset, SendLength send_length, view<T> out,
                     ReceiveOffset receive_offset, ReceiveLength receive_length) {
  const int p = c.size(), r = c.rank();
  copy(in.subview(send_offset(r), send_length(r)), out.subview(receive_offset(r), receive_length(r)));
  for (int s = 1; s < p; ++s) {
    const int to = (r + s) % p, from = (r - s + p) % p;
    auto arriving = c.start_receive(out.subview(receive_offset(from), receive_length(from)), from, tag::all_to_all);
    c.start_send(in.subview(send_offset(to), send_length(to)), to, tag::all_to_all).wait();
    arriving.wait();
  }
}

template <communicator C, class T>
void pairwise_all_to_all(C& c, view<const T> in, view<T> out) {
  const std::size_t n = in.size() / std::size_t(c.size());
  const auto offset = [n](int k) { return n * std::size_t(k); };
  const auto length = [n](int) { return n; };
  pairwise_pieces(c, in, offset, length, out, offset, length);
}

template <communicator C, class T>
void pairwise_all_to_all_v(C& c, view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
  const auto length = [](std::span<const std::size_t> counts) { return [counts](int k) { return counts[std::size_t(k)]; }; };
  const auto offset = [](std::span<const std::size_t> counts) {
    return [counts](int k) {
      std::size_t sum = 0;
      for (int j = 0; j < k; ++j) sum += counts[std::size_t(j)];
      return sum;
    };
  };
  pairwise_pieces(c, in, offset(send), length(send), out, offset(receive), length(receive));
}

}  // namespace entrain::comm::algorithms
