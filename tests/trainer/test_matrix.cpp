// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/comm/threads.hpp>

#include "matrix.hpp"

using namespace entrain;

TEST_CASE("every composition of a user's model keeps the laws on threads", "[matrix]") {
  const int ranks = GENERATE(1, 2, 3, 4, 5);
  CHECK_NOTHROW(comm::run_ranks(ranks, [](comm::threads& world) { test::run_matrix_of_user_models(world); }));
}

TEST_CASE("every composition of the library's networks keeps the laws on threads", "[matrix]") {
  const int ranks = GENERATE(1, 2, 3, 4, 5);
  CHECK_NOTHROW(comm::run_ranks(ranks, [](comm::threads& world) { test::run_matrix_of_networks(world); }));
}
