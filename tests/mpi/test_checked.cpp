// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <entrain/comm/checked.hpp>
#include <entrain/comm/mpi.hpp>

#include "comm/checked_cases.hpp"
#include "mpi/world.hpp"

using namespace entrain;

static_assert(comm::communicator<comm::checked<comm::mpi>>);

TEST_CASE("checked collectives over MPI give the same results") { CHECK(checked_cases::agreeing(tests::world()) == ""); }

TEST_CASE("ranks that disagree over MPI are named on every rank") {
  if (tests::world().size() == 1) return;
  for (const auto& how : checked_cases::all_ways) {
    CAPTURE(how);
    tests::world().start_barrier().wait();
    comm::mpi group{tests::world().native_handle()};  // it is broken afterwards
    const auto found = checked_cases::disagreeing(group, how), expected = checked_cases::expected(how, group.rank(), group.size());
    if (!expected.empty()) CHECK(found == expected);
    else CHECK(found.find("in pieces of") != std::string::npos);
  }
}
