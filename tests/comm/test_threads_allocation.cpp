// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "catch.hpp"
#include "counted_allocations.hpp"
#include "holds.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/threads.hpp>

// After the first round nothing is allocated: this program counts every allocation, of all its threads.

using namespace entrain;

TEST_CASE("collectives and messages on threads allocate nothing after the first round") {
  const auto body = [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    std::vector<float> small(4), large(30000), whole(90000);
    const auto round = [&](auto& c) {
      auto first = comm::start_all_reduce(c, large);
      auto second = comm::start_all_reduce(c, small);
      second.wait(), first.wait();
      comm::reduce(c, large);
      comm::reduce_scatter(c, whole, large);
      comm::all_gather(c, large, whole);
      comm::broadcast(c, large, 1);
      comm::barrier(c);
      comm::send_receive(c, large, (c.rank() + 1) % 3, view<float>(whole).subview(0, 30000), (c.rank() + 2) % 3);
    };
    for (int i = 0; i < 3; ++i) round(world), round(messages);
    comm::barrier(world);
    if (world.rank() == 0) test::allocations = 0, test::counting = true;
    comm::barrier(world);  // counting before anyone goes on
    for (int i = 0; i < 20; ++i) round(world), round(messages);
    comm::barrier(world);
    if (world.rank() == 0) test::counting = false;
    comm::barrier(world);
    HOLDS(test::allocations == 0);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}
