// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <entrain/comm/checked.hpp>
#include <entrain/comm/mpi.hpp>
#include <entrain/comm/tuned.hpp>
#include <entrain/testing/communicator_laws.hpp>

#include "mpi/world.hpp"

// The laws of a communicator on MPI: the world, a sub-group, and a checked world, in shared memory and by MPI's own calls.

using namespace entrain;

TEST_CASE("comm::mpi obeys the laws") { REQUIRE_NOTHROW(testing::check_communicator(tests::world())); }

TEST_CASE("a sub-group of comm::mpi obeys the laws") {
  auto part = tests::world().split(tests::world().rank() % 2, -tests::world().rank());
  REQUIRE_NOTHROW(testing::check_communicator(part, {.largest = 300}));
}

TEST_CASE("comm::mpi in short pieces obeys the laws") {
  comm::mpi narrow{tests::world().native_handle(), {.largest_count = 100, .shared_memory = false}};
  REQUIRE_NOTHROW(testing::check_communicator(narrow, {.largest = 130}));
}

TEST_CASE("comm::mpi without shared memory obeys the laws") {
  comm::mpi plain{tests::world().native_handle(), {.shared_memory = false}};
  REQUIRE_NOTHROW(testing::check_communicator(plain, {.largest = 1000}));
}

TEST_CASE("comm::mpi that chooses by cost obeys the laws, in shared memory and by messages") {
  comm::tuned<comm::mpi> near{tests::world().native_handle()}, far{tests::world().native_handle(), comm::mpi_options{.shared_memory = false}};
  static_assert(!comm::native_always<comm::tuned<comm::mpi>> && comm::native_always<comm::mpi>);
  REQUIRE_NOTHROW(testing::check_communicator(near, {.largest = 300}));
  REQUIRE_NOTHROW(testing::check_communicator(far, {.largest = 300}));
}

TEST_CASE("comm::checked over MPI obeys the laws") {
  comm::checked safe{tests::world()};
  REQUIRE_NOTHROW(testing::check_communicator(safe, {.largest = 150}));
}
