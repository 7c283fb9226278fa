// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/simulated.hpp>

#include "holds.hpp"

// What goes wrong among virtual ranks: delay, loss, crashes, deadlocks, disagreement; and that every run is the same.

using namespace entrain;
using Catch::Matchers::Contains;

namespace {

const comm::network wire = comm::network::uniform(1e-6, 1e9);

template <class Body>
comm::deadlock_report deadlock_of(int ranks, const comm::simulation_options& options, Body&& body) {
  try {
    comm::simulate(ranks, options, body);
  } catch (const comm::deadlock_error& e) {
    CHECK_THAT(e.what(), Contains(e.report().text()));
    return e.report();
  }
  FAIL("there was no deadlock");
  return {};
}

// Rank r receives from r + 1 before it sends to r - 1.
void all_receive_first(comm::simulated& world) {
  std::vector<float> data(10);
  const int p = world.size(), r = world.rank();
  comm::receive(world, data, (r + 1) % p, 7);
  comm::send(world, data, (r + p - 1) % p, 7);
}

}  // namespace

TEST_CASE("a deadlock is proven, and each rank's waiting operation is named", "[simulated]") {
  const auto report = deadlock_of(3, {.network = wire}, [](comm::simulated& world) {
    world.advance(0.5 * world.rank());
    all_receive_first(world);
  });
  CHECK(report.text() ==
        "at t = 1 s 3 ranks wait and nothing can wake them; a cycle: rank 0 -> rank 1 -> rank 2 -> rank 0; "
        "rank 0 waits to receive 40 bytes from rank 1, tag 7, since t = 0 s; "
        "rank 1 waits to receive 40 bytes from rank 2, tag 7, since t = 0.5 s; "
        "rank 2 waits to receive 40 bytes from rank 0, tag 7, since t = 1 s");
  CHECK(report.cycle == std::vector<int>{0, 1, 2});
  CHECK(report.waiting.size() == 3);

  const auto many = deadlock_of(300, {.network = wire}, all_receive_first);
  CHECK(many.waiting.size() == 300);
  CHECK(many.cycle.size() == 300);
  CHECK_THAT(many.text(), Contains("rank 15 waits") && !Contains("rank 17 waits") && Contains("and 284 more"));
}

TEST_CASE("a rank that has returned is named to those who wait for it", "[simulated]") {
  const auto report = deadlock_of(4, {.network = wire}, [](comm::simulated& world) {
    if (world.rank() == 2) return;
    comm::barrier(world);
  });
  CHECK(report.returned == std::vector<int>{2});
  CHECK_THAT(report.text(), Contains("returned: rank 2") && Contains("rank 3 waits to") && Contains("(of a collective)"));

  const auto in_split = deadlock_of(4, {.network = wire}, [](comm::simulated& world) {
    if (world.rank() != 2) world.split(0, 0);
  });
  CHECK_THAT(in_split.text(), Contains("rank 3 waits in split for rank 2, since t = 0 s"));

  const auto in_part = deadlock_of(4, {.network = wire}, [](comm::simulated& world) {
    auto part = world.split(world.rank() / 2, 0);
    if (world.rank() != 2) comm::barrier(part);
  });
  CHECK_THAT(in_part.text(), Contains("rank 3 waits to") && Contains("rank 2, tag") && Contains(", group 2, since t = 0 s"));
}

TEST_CASE("polling for what cannot come is a deadlock too", "[simulated]") {
  const auto report = deadlock_of(3, {.network = wire}, [](comm::simulated& world) {
    std::vector<int> a(1), b(1);
    const int other = (world.rank() + 1) % 3;
    auto x = comm::start_receive(world, a, other, 1), y = comm::start_receive(world, b, other, 2);
    if (world.rank() == 0) x.wait();
    for (bool first = false, second = false; !first || !second;) first = x.test(), second = y.test();
  });
  CHECK_THAT(report.text(), Contains("rank 0 waits to receive") && Contains("rank 1 polls to receive"));

  // Not stuck: rank 0 polls while the others compute and talk, and its message comes last.
  CHECK_NOTHROW(comm::simulate(3, {.network = wire}, [](comm::simulated& world) {
    std::vector<int> a(1);
    if (world.rank() == 0) {
      auto x = comm::start_receive(world, a, 1);
      while (!x.test()) {}
      return;
    }
    for (int i = 0; i < 5; ++i) {
      world.advance(1);
      if (world.rank() == 1) comm::send(world, a, 2), comm::receive(world, a, 2);
      else comm::receive(world, a, 1), comm::send(world, a, 1);
    }
    if (world.rank() == 1) comm::send(world, a, 0);
  }));
}

TEST_CASE("a dropped message leaves its receiver waiting", "[simulated]") {
  const auto send_one = [](comm::simulated& world) {
    std::vector<float> data(5, float(world.rank()));
    if (world.rank() == 0) comm::send(world, data, 1, 3), comm::send(world, data, 2, 3);
    else comm::receive(world, data, 0, 3);
  };
  const auto report = deadlock_of(3, {.network = wire, .faults = {.drop = {.probability = 1, .to = 1}}}, send_one);
  CHECK(report.returned == std::vector<int>{0, 2});
  REQUIRE(report.waiting.size() == 1);
  CHECK(report.waiting[0].lost);
  CHECK_THAT(report.text(), Contains("rank 1 waits to receive 20 bytes from rank 0, tag 3, since t = 0 s (the message was dropped)"));
}

TEST_CASE("a rank crashes at a time or at a call; the others go on until they need it", "[simulated]") {
  const auto body = [](comm::simulated& world) {
    std::vector<float> data(world.size() * 10ul, 1.0f);
    for (int step = 0; step < 10; ++step) {
      world.advance(1.0);
      comm::all_reduce(world, data);
    }
  };
  const auto at_time = deadlock_of(4, {.network = wire, .faults = {.crashes = {{.rank = 2, .at_time = 3.5}}}}, body);
  REQUIRE(at_time.crashed.size() == 1);
  CHECK(at_time.crashed[0].rank == 2);
  CHECK(at_time.crashed[0].time == 3.5);
  CHECK(at_time.waiting.size() == 3);
  CHECK_THAT(at_time.text(), Contains("rank 2 crashed at t = 3.5 s") && Contains("rank 3 waits to"));

  const auto at_call = deadlock_of(4, {.network = wire, .faults = {.crashes = {{.rank = 1, .at_call = 3}}}}, body);
  CHECK(at_call.crashed[0].rank == 1);

  // While it waits; and when nobody needs it afterwards, the job goes on.
  const auto report = comm::simulate(3, {.network = wire, .faults = {.crashes = {{.rank = 1, .at_time = 2}}}}, [](comm::simulated& world) {
    std::vector<int> data(1);
    try {
      if (world.rank() == 1) comm::receive(world, data, 0);
      world.advance(5);
    } catch (const std::exception&) {
      throw std::logic_error("a crash is no error to be handled");
    }
  });
  CHECK(report.ranks[1].crashed);
  CHECK(report.ranks[1].finish == 2);
  CHECK(report.ranks[0].finish == 5);
  CHECK_THROWS_AS(comm::simulate(2, {.faults = {.crashes = {{.rank = 2}}}}, body), usage_error);
}

TEST_CASE("a rank that crashes takes its messages with it", "[simulated]") {
  const auto report = deadlock_of(2, {.network = comm::network::uniform(1, 1e9), .faults = {.crashes = {{.rank = 0, .at_time = 0.5}}}}, [](comm::simulated& world) {
    std::vector<int> data(1000);
    if (world.rank() == 0) comm::send(world, data, 1);
    else comm::receive(world, data, 0);
  });
  CHECK_THAT(report.text(), Contains("rank 1 waits to receive 4000 bytes from rank 0, tag 0, since t = 0 s (the other end gave it up)"));
}

TEST_CASE("ends of a message that disagree name each other", "[simulated]") {
  const auto sizes = [](comm::simulated& world) {
    std::vector<float> data(world.rank() == 0 ? 5u : 6u);
    if (world.rank() == 0) comm::send(world, data, 1, 2);
    else comm::receive(world, data, 0, 2);
  };
  CHECK_THROWS_AS(comm::simulate(2, sizes), usage_error);
  CHECK_THROWS_WITH(comm::simulate(2, sizes), "comm::simulated, message from rank 0 to rank 1 (tag 2): its ends differ in size or type; "
                                              "expected 5 f32 (sent by rank 0), found 6 f32 (received by rank 1)");
  const auto types = [](comm::simulated& world) {
    std::vector<float> data(5);
    std::vector<std::int32_t> numbers(5);
    if (world.rank() == 0) comm::send(world, data, 1);
    else comm::receive(world, numbers, 0);
  };
  CHECK_THROWS_WITH(comm::simulate(2, types), Contains("5 i32"));
  // A rank that catches it may go on.
  CHECK_NOTHROW(comm::simulate(2, [&](comm::simulated& world) { HOLDS_THROWS(usage_error, sizes(world)); comm::barrier(world); }));
}

TEST_CASE("a rank's own exception ends the job and comes out", "[simulated]") {
  int told = 0;
  const auto body = [&](comm::simulated& world) {
    std::vector<float> data(1000);
    try {
      if (world.rank() == 5) throw std::runtime_error("sample 17 is damaged");
      comm::all_reduce(world, data);
    } catch (const communication_error& e) {
      if (std::string(e.what()).find("rank 5 failed: sample 17 is damaged") != std::string::npos) ++told;
      throw;
    }
  };
  CHECK_THROWS_WITH(comm::simulate(8, body), "sample 17 is damaged");
  CHECK(told > 0);
  CHECK_THROWS_AS(comm::simulate(2, [](comm::simulated& world) { world.advance(-1); }), usage_error);
  CHECK_THROWS_AS(comm::simulate(2, [](comm::simulated&) { throw 3; }), int);
}

TEST_CASE("an incomplete request is waited for where it is destroyed", "[simulated]") {
  comm::simulate(2, {.network = wire}, [](comm::simulated& world) {
    std::vector<int> data{world.rank()};
    if (world.rank() == 0) {
      comm::start_receive(world, data, 1);
      HOLDS(data[0] == 1 && world.now() > 1);
    } else {
      world.advance(1);
      comm::start_send(world, data, 0);
    }
  });
  const auto stuck = [](comm::simulated& world) {
    std::vector<int> data(1);
    if (world.rank() == 0) comm::start_receive(world, data, 1);
  };
  CHECK_THROWS_AS(comm::simulate(2, stuck), comm::deadlock_error);
}

TEST_CASE("two runs are the same, delays and all", "[simulated]") {
  const auto run = [](std::uint64_t seed, double probability) {
    const comm::simulation_options options{.network = wire, .gamma = 1e-10, .faults = {.seed = seed, .delay = {.probability = probability, .seconds = 1e-5}}, .record_transfers = true};
    return comm::simulate(13, options, [](comm::simulated& world) {
      std::vector<float> data(1001, float(world.rank()));
      auto part = world.split(world.rank() % 3, 0);
      for (int i = 0; i < 3; ++i) {
        world.advance(1e-6 * (world.rank() * 7 % 5));
        comm::all_reduce(part, data);
        auto request = comm::start_all_reduce(world, data);
        while (!request.test()) {}
        comm::broadcast(world, data, i);
      }
    });
  };
  const auto first = run(1, 0.2), again = run(1, 0.2), other = run(2, 0.2), undisturbed = run(1, 0);
  CHECK(first == again);
  CHECK_FALSE(first == other);
  CHECK(first.finish > undisturbed.finish);
  CHECK(first.bytes == undisturbed.bytes);
  CHECK(first.transfers.size() == first.messages);
}

TEST_CASE("a checked communicator works over virtual ranks", "[simulated]") {
  const auto disagree = [](comm::simulated& world) {
    comm::checked safe{world};
    std::vector<float> values(10);
    comm::all_reduce(safe, values);
    if (safe.rank() == 2) comm::broadcast(safe, values);
    else comm::all_reduce(safe, values);
  };
  CHECK_THROWS_WITH(comm::simulate(4, disagree), Contains("rank 2 called broadcast of 10 f32"));
}
