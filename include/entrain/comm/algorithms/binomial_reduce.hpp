// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>

#include <entrain/comm/algorithm.hpp>

// Binomial tree reduction to any root, in rank order. The ranks are cut into two halves, again and again; in each half one rank has the result: the root
// in its own half, the lowest rank in the others. It gives it to the one of the neighbouring half, left or right of its own. Cost:
// ceil(log2 p) steps of the whole operand; every rank but the root sends once. Memory: two operands where a rank that is not
// the root combines more than once, else one.
namespace entrain::comm::algorithms {

namespace binomial {
struct half {
  int begin = 0, end = 1, target = 0;  // ranks [begin, end) reduce to target
};

// The half of `whole` that rank is in, and the other one.
struct cut {
  half mine, other;
};
constexpr cut cut_of(const half& whole, int rank) {
  const int middle = whole.begin + (whole.end - whole.begin + 1) / 2;
  half low{whole.begin, middle, whole.begin}, high{middle, whole.end, middle};
  (whole.target < middle ? low : high).target = whole.target;
  return rank < middle ? cut{low, high} : cut{high, low};
}

// Where a rank collects: its operand is `in` until something arrived.
struct collecting {
  schedule::region own, sum, arriving;
};

inline void write_half(schedule::program& s, const half& whole, int rank, collecting& at) {
  if (whole.end - whole.begin == 1) return;
  const cut both = cut_of(whole, rank);
  write_half(s, both.mine, rank, at);
  if (rank != both.mine.target) return;
  if (rank != whole.target) return s.send(whole.target, at.own);
  s.receive(both.other.target, at.arriving);
  if (both.other.begin < both.mine.begin) s.combine(at.arriving, at.own, at.sum);
  else s.combine(at.own, at.arriving, at.sum);
  at.own = at.sum;
  if (at.arriving == at.sum) at.arriving = schedule::region::scratch(at.sum.count, at.sum.count);
}

inline void write_reduce(schedule::program& s, const problem& c) {
  using schedule::region;
  const std::size_t n = c.count;
  collecting at{region::in(0, n), region::out(0, n), region::scratch(0, n)};
  if (c.size == 1) return s.copy(at.own, at.sum);
  if (c.rank != c.root) at.sum = at.arriving;  // the first sum; what arrives later lies behind it
  write_half(s, {0, c.size, c.root}, c.rank, at);
}

inline cost predict_reduce(const problem& c) {
  cost k;
  if (c.count == 0) return k;
  k.alphas = std::bit_width(unsigned(c.size - 1));
  k.betas = k.gammas = k.alphas * double(c.count);
  if (c.rank != c.root) k.messages = 1, k.elements = c.count;
  return k;
}
}  // namespace binomial

inline constexpr algorithm binomial_reduce{collective::reduce, "binomial", true, binomial::write_reduce, binomial::predict_reduce};

}  // namespace entrain::comm::algorithms
