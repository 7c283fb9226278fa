// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/algorithms/table.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/testing/communicator_laws.hpp>

// Every algorithm of the table over a communicator's messages, against plain sequential loops:
//
//   entrain::testing::check_algorithms(world);   // every rank calls it; throws entrain::error that says what went wrong
//
// Collective x algorithm x element type (floats, integers, bfloat16, users' structs) x operation (also one that does not commute) x
// size, in place and not; then many at once, each by another algorithm, completed in an order of each rank's own; then the same in two
// groups and the whole at once. (That the algorithms are right for every rank count and hang nowhere is shown without a communicator
// by testing/algorithm_laws.hpp; this shows that they are carried out so.)

namespace entrain::testing {

namespace matrix_detail {

// Lets every collective go by algorithm number `round` of its kind, among those that can do it; false where all have been.
template <class Messages>
bool choose_round(Messages& messages, std::size_t round, bool commutative) {
  bool any = false;
  for (int k = 0; k < comm::collective_kinds; ++k) {
    std::vector<const comm::algorithm*> able;
    const comm::problem what{.kind = comm::collective(k), .size = messages.size(), .count = 1000};
    for (const auto* a : comm::algorithms_of(comm::collective(k)))
      if (comm::fits(*a, what, commutative)) able.push_back(a);
    if (able.empty()) continue;
    any |= round < able.size();
    messages.use(*able[round % able.size()]);
  }
  return any;
}

// Twelve collectives in flight in `messages` and in `part`, completed in an order that differs from rank to rank.
template <class Messages>
void check_many(Messages& messages, Messages& part, std::uint64_t seed) {
  using T = std::int32_t;
  namespace d = communicator_detail;
  struct flight {
    comm::pending<Messages> request;
    std::vector<T> in, out, expected;
  };
  std::vector<flight> flights(12);
  for (std::size_t k = 0; k < flights.size(); ++k) {
    auto& f = flights[k];
    Messages& c = k % 3 == 2 ? part : messages;
    choose_round(c, k + std::size_t(seed), true);
    const int p = c.size(), r = c.rank(), salt = int(k);
    const std::size_t n = (k * 37 + std::size_t(seed) * 101) % 300;
    f.in = d::operand<T>(r, n, salt), f.out.assign(n, T{});
    if (k % 4 == 3) {
      f.out.assign(n * std::size_t(p), T{});
      f.request = comm::start_all_gather(c, f.in, f.out);
    } else if (k % 4 == 1) {
      if (r == salt % p) f.out = f.in;
      f.request = comm::start_broadcast(c, f.out, salt % p);
    } else {
      f.request = comm::start_all_reduce(c, f.in, f.out);
    }
    // The part's ranks are not those of the whole: values by the rank in the group.
    if (k % 4 == 3)
      for (int q = 0; q < p; ++q) {
        const auto theirs = d::operand<T>(q, n, salt);
        f.expected.insert(f.expected.end(), theirs.begin(), theirs.end());
      }
    else f.expected = k % 4 == 1 ? d::operand<T>(salt % p, n, salt) : d::reduced<T, comm::sum>(p, n, salt);
  }
  const random_stream random{seed, purpose::user, std::uint32_t(messages.rank())};
  std::vector<std::size_t> order(flights.size());
  std::iota(order.begin(), order.end(), std::size_t{});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  for (const auto k : order) {
    if (k % 2 == 0)
      while (!flights[k].request.test()) std::this_thread::yield();
    else flights[k].request.wait();
    d::expect_same(messages, "collective " + std::to_string(k) + " of many in flight, seed " + std::to_string(seed), flights[k].expected, flights[k].out);
  }
}

}  // namespace matrix_detail

struct algorithm_sizes {
  std::vector<std::size_t> lengths{0, 1, 6, 17, 64, 127, 1000};  // elements; p - 1 is added
};

template <comm::communicator C>
void check_algorithms(C& world, const algorithm_sizes& sizes = {}) {
  namespace d = communicator_detail;
  comm::point_to_point_only<C> messages{world};
  auto lengths = sizes.lengths;
  lengths.push_back(std::size_t(world.size() - 1));
  for (std::size_t round = 0; matrix_detail::choose_round(messages, round, true); ++round)
    for (const auto n : lengths) {
      d::check_reductions<float, comm::sum>(messages, n);
      d::check_gathers<float>(messages, n);
      d::check_uneven<d::vote>(messages, n);
      if (n > 130) continue;
      d::check_reductions<std::int64_t, comm::maximum>(messages, n);
      d::check_reductions<bfloat16, comm::sum>(messages, n);
      d::check_reductions<d::vote, d::merge_votes>(messages, n);
      d::check_gathers<d::vote>(messages, n);
      d::check_bits<float>(messages, n);
      comm::barrier(messages);
    }
  for (std::size_t round = 0; matrix_detail::choose_round(messages, round, false); ++round)
    for (const auto n : lengths) d::check_reductions<d::affine, d::compose>(messages, n);

  auto part = messages.split(messages.rank() % 2, messages.rank());
  for (std::uint64_t seed = 0; seed < 6; ++seed) matrix_detail::check_many(messages, part, seed);
}

}  // namespace entrain::testing
