// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/background.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/testing/communicator_laws.hpp>

using namespace entrain;

static_assert(comm::communicator<comm::background<comm::threads>>);

namespace {
constexpr comm::run_options patient{.deadline = std::chrono::seconds(300)};
}

TEST_CASE("a communicator that works in the background obeys the laws") {
  for (const int ranks : {1, 2, 3})
    CHECK_NOTHROW(comm::run_ranks(ranks, patient, [](comm::threads& world) {
      comm::background helped{world};
      testing::check_communicator(helped, {.largest = 257u});
    }));
}

TEST_CASE("a collective built from messages completes while its rank never asks after it") {
  const auto body = [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    comm::background helped{messages};
    std::vector<float> x(1000, float(world.rank() + 1));
    auto request = comm::start_all_reduce(helped, x);
    // Nothing is tested or waited for here but the clock.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    bool arrived = false;
    while (!arrived && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      arrived = request.test();
    }
    HOLDS(arrived);
    HOLDS(x.back() == 6.0f);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, patient, body));
}

TEST_CASE("what the helper's communicator throws reaches the rank that waits") {
  const auto body = [](comm::threads& world) {
    comm::background helped{world};
    std::vector<float> x(world.rank() == 0 ? 3u : 4u);
    comm::all_reduce(helped, x);
  };
  REQUIRE_THROWS_WITH(comm::run_ranks(2, patient, body), Catch::Contains("3 f32") || Catch::Contains("4 f32"));
}
