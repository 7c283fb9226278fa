// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "mpi/world.hpp"
#include <entrain/comm/mpi.hpp>
#include <entrain/testing/algorithm_matrix.hpp>

TEST_CASE("every algorithm of the table, carried out over MPI's messages") { CHECK_NOTHROW(entrain::testing::check_algorithms(tests::world())); }
