// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <string>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/hierarchical.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/testing/communicator_laws.hpp>

// Nodes that the test makes up: consecutive, round robin, and of different sizes.

using namespace entrain;

static_assert(comm::communicator<comm::hierarchical<comm::threads>>);

namespace {

constexpr comm::run_options patient{.deadline = std::chrono::seconds(300)};

int consecutive(int rank) { return rank / 2 + 10; }
int round_robin(int rank) { return rank % 2; }
int uneven(int rank) { return rank == 0 ? 7 : rank < 4 ? 3 : 5; }

}  // namespace

TEST_CASE("a communicator of nodes obeys the laws") {
  for (const auto node_of : {consecutive, round_robin, uneven})
    for (const int ranks : {1, 2, 3, 4, 6}) {
      INFO(ranks << " ranks");
      CHECK_NOTHROW(comm::run_ranks(ranks, patient, [&](comm::threads& world) {
        comm::hierarchical nodes{world, node_of(world.rank())};
        testing::check_communicator(nodes, {.largest = 257u});
      }));
    }
}

TEST_CASE("nodes over messages alone: stages and their algorithms progress together") {
  for (const int ranks : {4, 6})
    CHECK_NOTHROW(comm::run_ranks(ranks, patient, [&](comm::threads& world) {
      comm::point_to_point_only messages{world};
      comm::hierarchical nodes{messages, consecutive(world.rank())};
      testing::check_communicator(nodes, {.largest = 257u});
    }));
}

TEST_CASE("only one piece in g of an all-reduce leaves a rank's node") {
  const auto body = [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    comm::hierarchical nodes{messages, world.rank() / 4};
    HOLDS(nodes.nodes() == 2);
    HOLDS(nodes.inside().size() == 4);
    HOLDS(nodes.across().size() == 2);
    std::vector<float> x(1000, 1.0f);
    const auto before = nodes.across().counters();
    comm::all_reduce(nodes, x);
    HOLDS(x.front() == 8.0f);
    HOLDS(x.back() == 8.0f);
    HOLDS(nodes.across().counters().bytes - before.bytes == 250 * sizeof(float));
  };
  REQUIRE_NOTHROW(comm::run_ranks(8, patient, body));
}
