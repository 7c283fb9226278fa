// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Reduce-scatter on a circulant graph (Traff 2024, "Optimal, non-pipelined reduce-scatter and allreduce algorithms"): few
// messages and no element too many for any number of ranks. Rank r keeps partial results of the pieces r, r + 1, ..., r + w - 1
// (at first w = p). In each step it sends the upper half of them, from h = ceil(w / 2) on, to rank r + h, for which they are
// the first ones, adds what it gets from r - h to its own first ones, and goes on with w = h. Cost: ceil(log2 p) steps, p - 1
// pieces sent and combined. Memory: p pieces. The operation must commute.
namespace entrain::comm::algorithms {

namespace circulant {
inline void write_reduce_scatter(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const auto pieces = [n](int k) { return n * std::size_t(k); };
  const region result = region::out(0, n);
  if (p == 1) return s.copy(region::in(0, n), result);
  const int kept = (p + 1) / 2;
  const auto partial = [&](int k, int m) { return region::scratch(pieces(k), pieces(m)); };
  const auto other = [&](int m) { return region::scratch(pieces(kept), pieces(m)); };
  // f(own operand of pieces [r + first, r + last), first, pieces): in two parts where the circle closes.
  const auto own = [&](int first, int last, auto&& f) {
    for (int k = first; k < last;) {
      const int at = around(r + k, p), m = std::min(last - k, p - at);
      f(region::in(pieces(at), pieces(m)), k, m);
      k += m;
    }
  };
  for (int w = p, half = kept; w > 1; w = half, half = (w + 1) / 2) {
    const int m = w - half, to = around(r + half, p), from = around(r - half, p);
    if (w < p) {
      s.receive(from, other(m));
      s.send(to, partial(half, m));
      s.combine(other(m), partial(0, m), half == 1 ? result : partial(0, m));
      continue;
    }
    region leaving = region::in(pieces(to), pieces(m));
    if (to + m > p) {
      leaving = other(m);
      own(half, p, [&](region piece, int k, int parts) { s.copy(piece, leaving.part(pieces(k - half), pieces(parts))); });
    }
    s.receive(from, partial(0, m));
    s.send(to, leaving);
    own(0, m, [&](region piece, int k, int parts) { s.combine(partial(k, parts), piece, half == 1 ? result : partial(k, parts)); });
    own(m, half, [&](region piece, int k, int parts) { s.copy(piece, partial(k, parts)); });
  }
}

inline cost predict_reduce_scatter(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  const auto others = std::size_t(c.size - 1);
  k.messages = std::size_t(log2_ceil(c.size)), k.elements = others * c.count;
  k.alphas = double(k.messages), k.betas = k.gammas = double(k.elements);
  return k;
}
}  // namespace circulant

inline constexpr algorithm circulant_reduce_scatter{collective::reduce_scatter, "circulant", false, circulant::write_reduce_scatter,
                                                    circulant::predict_reduce_scatter};

}  // namespace entrain::comm::algorithms
