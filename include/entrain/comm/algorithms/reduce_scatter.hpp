// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <entrain/comm/algorithms/scratch.hpp>
#include <entrain/comm/algorithms/tags.hpp>
#include <entrain/comm/concepts.hpp>

// Ring reduce-scatter: in step s rank r passes the partial result of piece r - s - 1 on to r + 1 and adds its own operand to
// what arrives; after p - 1 steps it holds piece r whole. Operands meet in ring order starting at r + 1, so the operation
// must commute; for one that does not, pieces are exchanged pairwise and combined in rank order. Cost: p - 1 steps,
// (p - 1)/p of the input sent. Memory: two pieces (p pieces).
namespace entrain::comm::algorithms {

// Pieces lie at offset(k) with length(k).
template <class Op, communicator C, class T, class Offset, class Length>
void ring_reduce_pieces(C& c, view<const T> in, view<T> out, Offset offset, Length length, std::size_t longest) {
  const int p = c.size(), r = c.rank();
  if (p == 1) return copy(in.subview(offset(0), length(0)), out);
  const view<T> space = scratch<T>(2 * longest);
  view<T> outgoing = space.subview(0, longest), incoming = space.subview(longest, longest);
  const auto own = [&](int k) { return in.subview(offset(k), length(k)); };
  const int first = (r - 1 + p) % p;
  copy(own(first), outgoing.subview(0, length(first)));
  for (int s = 0; s < p - 1; ++s) {
    const int send = (r - s - 1 + 2 * p) % p, receive = (r - s - 2 + 2 * p) % p;
    auto arriving = c.start_receive(incoming.subview(0, length(receive)), (r - 1 + p) % p, tag::reduce_scatter);
    auto leaving = c.start_send(view<const T>(outgoing.subview(0, length(send))), (r + 1) % p, tag::reduce_scatter);
    leaving.wait();
    arriving.wait();
    combine_into<Op>(incoming.subview(0, length(receive)), own(receive));
    std::swap(outgoing, incoming);
  }
  copy(view<const T>(outgoing.subview(0, length(r))), out);
}

template <class Op, communicator C, class T>
void ordered_reduce_pieces(C& c, view<const T> in, view<T> out) {
  const int p = c.size(), r = c.rank();
  const std::size_t n = out.size();
  const view<T> pieces = scratch<T>(n * std::size_t(p));
  copy(in.subview(n * std::size_t(r), n), pieces.subview(n * std::size_t(r), n));
  for (int s = 1; s < p; ++s) {
    const int to = (r + s) % p, from = (r - s + p) % p;
    auto arriving = c.start_receive(pieces.subview(n * std::size_t(from), n), from, tag::reduce_scatter);
    c.start_send(in.subview(n * std::size_t(to), n), to, tag::reduce_scatter).wait();
    arriving.wait();
  }
  copy(view<const T>(pieces.subview(0, n)), out);
  for (int k = 1; k < p; ++k) combine_into<Op>(out, view<const T>(pieces.subview(n * std::size_t(k), n)));
}

template <communicator C, class T, class Op>
void ring_reduce_scatter(C& c, view<const T> in, view<T> out, Op) {
  const std::size_t n = out.size();
  if constexpr (Op::commutative)
    ring_reduce_pieces<Op>(
        c, in, out, [n](int k) { return n * std::size_t(k); }, [n](int) { return n; }, n);
  else ordered_reduce_pieces<Op>(c, in, out);
}

}  // namespace entrain::comm::algorithms
