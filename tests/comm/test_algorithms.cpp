// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/algorithms/recursive_doubling_all_reduce.hpp>
#include <entrain/comm/algorithms/ring_all_reduce.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/testing/algorithm_matrix.hpp>
#include <entrain/testing/communicator_laws.hpp>

// The collectives built from messages, under the same laws as the native ones, and what they send.

using namespace entrain;
using messages_only = comm::point_to_point_only<comm::threads>;

static_assert(comm::communicator<messages_only>);
static_assert(!comm::native<messages_only, comm::collective::all_reduce, float, comm::sum>);

TEST_CASE("the algorithms obey the laws of a communicator") {
  for (const int ranks : {1, 2, 3, 4, 5, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) {
      messages_only messages{world};
      testing::check_communicator(messages, {.largest = ranks > 5 ? 257u : 65537u});
    }));
  }
  comm::self world;
  comm::point_to_point_only alone{world};
  CHECK_NOTHROW(testing::check_communicator(alone, {.largest = 1000}));
}

TEST_CASE("every algorithm of the table, carried out over messages") {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) {
      testing::check_algorithms(world, ranks > 5 ? testing::algorithm_sizes{{0, 1, 17, 129}} : testing::algorithm_sizes{});
    }));
  }
}

TEST_CASE("a chosen algorithm is the one that runs, and what it sends is counted") {
  const auto body = [](comm::threads& world) {
    const std::uint64_t n = 1000, p = 5;
    std::vector<float> a(n);
    messages_only messages{world};
    const auto sent = [&](const comm::algorithm& how) {
      messages.use(how);
      const auto before = world.counters();
      comm::all_reduce(messages, a);
      return std::pair{world.counters().wire_messages - before.wire_messages, world.counters().wire_bytes - before.wire_bytes};
    };
    HOLDS(sent(comm::algorithms::ring_all_reduce) == std::pair(2 * (p - 1), 2 * (p - 1) * n / p * sizeof(float)));
    const auto doubling = sent(comm::algorithms::recursive_doubling_all_reduce);
    if (world.rank() == 4) HOLDS(doubling == std::pair(std::uint64_t{2}, 2 * n * sizeof(float)));  // no partner beyond the four
  };
  REQUIRE_NOTHROW(comm::run_ranks(5, body));
}

TEST_CASE("an algorithm that mixes the order of operands is refused where it matters") {
  const auto body = [](comm::threads& world) {
    messages_only messages{world};
    messages.use(comm::algorithms::ring_all_reduce);
    std::vector<testing::communicator_detail::affine> a(10);
    comm::all_reduce(messages, a, testing::communicator_detail::compose{});
  };
  CHECK_THROWS_WITH(comm::run_ranks(3, body), Catch::Contains("does not keep the order of operands"));
}

TEST_CASE("waiting for a message makes progress with the collectives in flight") {
  // Rank 1 sends only when its collective is complete, which it cannot be unless rank 0 goes on with it while it waits for the message.
  const auto body = [](comm::threads& world) {
    messages_only messages{world};
    messages.use(comm::algorithms::ring_all_reduce);
    std::vector<double> x(64, 1.0), note(1, 7.0);
    auto sum = comm::start_all_reduce(messages, x);
    if (world.rank() == 0) comm::receive(messages, note, 1);
    sum.wait();
    if (world.rank() == 1) comm::send(messages, note, 0);
    HOLDS(x.front() == 3.0);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, {.deadline = std::chrono::seconds(60)}, body));
}
