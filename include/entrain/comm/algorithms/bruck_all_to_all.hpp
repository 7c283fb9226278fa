// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/detail/ranks.hpp>

// Bruck all-to-all (Bruck et al. 1997): few messages, each piece travels several times. The piece that must go i ranks up goes
// along the bits of i: at distance d = 1, 2, 4, ... rank r packs all pieces with that bit and sends them to r + d in
// one message. Nothing is rotated: a piece is taken from where it was received last and put into its place when its last bit is
// done. Cost: ceil(log2 p) steps of about p / 2 pieces. Memory: as much as is sent, and one message.
namespace entrain::comm::algorithms {

namespace bruck {
// How many of 0, ..., p - 1 have bit d, and where i, which has it, stands among them.
constexpr int with_bit(int p, int d) { return p / (2 * d) * d + std::max(0, p % (2 * d) - d); }
constexpr int index_with_bit(int i, int d) { return i / (2 * d) * d + i % d; }

inline void write_all_to_all(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  const int p = c.size, r = c.rank;
  const int longest = with_bit(p, 1);  // message; it is packed in the first pieces of scratch memory
  const auto input = [&](int to) { return region::in(n * std::size_t(around(to, p)), n); };
  const auto output = [&](int from) { return region::out(n * std::size_t(around(from, p)), n); };
  const auto scratch = [&](int first, int pieces) { return region::scratch(n * std::size_t(first), n * std::size_t(pieces)); };
  const auto arrived_at = [&](int d) {  // where the message of distance d is received
    int first = longest;
    for (int e = 1; e < d; e *= 2) first += with_bit(p, e);
    return first;
  };
  const auto last_seen = [&](int i, int d) {  // piece i before the step of distance d
    const int done = i % d;
    if (done == 0) return input(r + i);
    const int e = int(std::bit_floor(unsigned(done)));
    return scratch(arrived_at(e) + index_with_bit(i, e), 1);
  };
  for (int d = 1; d < p; d *= 2) {
    const int m = with_bit(p, d);
    for (int i = d; i < p; i = (i + 1) | d) s.copy(last_seen(i, d), scratch(index_with_bit(i, d), 1));
    s.receive(around(r - d, p), scratch(arrived_at(d), m));
    s.send(around(r + d, p), scratch(0, m));
  }
  s.copy(input(r), output(r));
  for (int i = 1; i < p; ++i) s.copy(last_seen(i, int(std::bit_floor(unsigned(i))) * 2), output(r - i));
}

inline cost predict_all_to_all(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  for (int d = 1; d < c.size; d *= 2) ++k.messages, k.elements += std::size_t(with_bit(c.size, d)) * c.count;
  k.alphas = double(k.messages), k.betas = double(k.elements);
  return k;
}
}  // namespace bruck

inline constexpr algorithm bruck_all_to_all{collective::all_to_all, "bruck", true, bruck::write_all_to_all, bruck::predict_all_to_all};

}  // namespace entrain::comm::algorithms
