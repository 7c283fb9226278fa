// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "comm/sparse_cases.hpp"
#include "mpi/world.hpp"

// The sparse all-reduce on MPI against the reference.

TEST_CASE("a sparse all-reduce on MPI equals the reference") { REQUIRE_NOTHROW(tests::check_sparse_laws(tests::world())); }
