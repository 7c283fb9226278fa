// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "comm/ok_topk_cases.hpp"
#include "mpi/world.hpp"

// Ok-Topk on MPI.

TEST_CASE("Ok-Topk on MPI does what its description says") {
  REQUIRE_NOTHROW(tests::check_ok_top_k_laws(tests::world()));
  REQUIRE_NOTHROW(tests::check_ok_top_k_volume(tests::world(), tests::shape::random));
}
