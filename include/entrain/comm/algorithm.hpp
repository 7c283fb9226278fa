// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <entrain/comm/schedule/program.hpp>
#include <entrain/comm/traits.hpp>

// An algorithm of a collective, as a value: who sends what to whom, and what that costs. It knows neither element type nor
// communicator, so it is written once for all of them; to add one, write two functions and give it a name:
//
//   void write(schedule::program& s, const problem& c) { ... what rank c.rank of c.size does ... }
//   cost predict(const problem& c) { ... }
//   inline constexpr algorithm my_all_reduce{collective::all_reduce, "mine", true, write, predict};
//
//   comm::point_to_point_only messages{world};
//   messages.use(my_all_reduce);                 // by hand; or list it in comm/algorithms/table.hpp to have it chosen by cost
//   comm::all_reduce(messages, gradient);

namespace entrain::comm {

// One call of a collective, as one rank sees it.
struct problem {
  collective kind = collective::barrier;
  int rank = 0, size = 1;
  std::size_t count = 0;                           // elements: broadcast, reduce, all_reduce: of the operand; *_v: unused; the others: of one rank's piece
  std::size_t width = 1;                           // bytes of an element
  int root = 0;
  std::span<const std::size_t> counts{};           // all_gather_v: elements of each rank; all_to_all_v: what this rank sends to each
  std::span<const std::size_t> receive_counts{};   // all_to_all_v: what this rank gets from each
  int ranks_per_node = 1;                          // of neighbouring ranks that reach each other faster; divides size
};

// What a call costs. Time in the alpha-beta-gamma model is alpha * alphas + beta * width * betas + gamma * width * gammas on
// one-ported full-duplex links; what this rank sends is exact.
struct cost {
  double alphas = 0;             // messages one after the other on the longest path
  double betas = 0;              // elements sent on it
  double gammas = 0;             // elements combined on it
  std::uint64_t messages = 0;    // that this rank sends
  std::uint64_t elements = 0;    // that this rank sends
};

struct algorithm {
  collective kind = collective::barrier;
  std::string_view name;
  bool keeps_order = true;  // operands meet in rank order: the operation need not commute
  void (*write)(schedule::program&, const problem&) = nullptr;
  cost (*predict)(const problem&) = nullptr;
  bool (*fits)(const problem&) = nullptr;  // null: every problem of its kind
};

inline bool fits(const algorithm& a, const problem& c, bool commutative) {
  return (commutative || a.keeps_order) && (!a.fits || a.fits(c));
}

}  // namespace entrain::comm
