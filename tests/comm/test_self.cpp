// SPDX-License-Identifier: Apache-2.0
#include <utility>
#include <vector>

#include "catch.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/testing/communicator_laws.hpp>

using namespace entrain;

static_assert(comm::communicator<comm::self>);

TEST_CASE("self obeys the laws of a communicator") {
  comm::self world;
  REQUIRE_NOTHROW(testing::check_communicator(world));
}

TEST_CASE("a message to itself waits for its other half, or says that there is none") {
  comm::self world;
  std::vector<int> out{1, 2, 3}, in(3), small(2);
  auto sent = comm::start_send(world, out, 0, 7);
  CHECK_FALSE(sent.test());
  CHECK_THROWS_AS(sent.wait(), communication_error);
  auto other = comm::start_receive(world, in, 0, 8);
  CHECK_FALSE(other.test());
  comm::receive(world, in, 0, 7);
  CHECK(in == out);
  CHECK(sent.test());

  auto wrong = comm::start_send(world, out, 0, 1);
  CHECK_THROWS_AS(comm::receive(world, small, 0, 1), usage_error);
  CHECK_THROWS_AS(wrong.wait(), usage_error);
  { auto dropped = comm::start_send(world, out, 0, 1); }  // never received: withdrawn
  auto late = comm::start_receive(world, in, 0, 1);
  CHECK_FALSE(late.test());
}
