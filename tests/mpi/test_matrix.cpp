// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include "../trainer/matrix.hpp"
#include "world.hpp"

using namespace entrain;

TEST_CASE("every composition of a user's model keeps the laws on MPI", "[matrix]") { CHECK_NOTHROW(test::run_matrix_of_user_models(tests::world())); }

TEST_CASE("every composition of the library's networks keeps the laws on MPI", "[matrix]") { CHECK_NOTHROW(test::run_matrix_of_networks(tests::world())); }
