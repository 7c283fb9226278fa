// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "comm/reproducible_cases.hpp"
#include "mpi/world.hpp"

// The reproducible all-reduce on MPI: the same bits as the sequential tree, on whatever number of ranks this runs.

TEST_CASE("a reproducible all-reduce on MPI has the bits of the sequential tree") {
  REQUIRE_NOTHROW(tests::check_reproducible_laws(tests::world(), {1, 2, 3, 4, 6, 8, 12}));
  REQUIRE_NOTHROW(tests::check_reproducible_in_flight(tests::world()));
  REQUIRE_NOTHROW((tests::check_reproducible<float, entrain::comm::sum>(tests::world(), 5, 400001)));
}
