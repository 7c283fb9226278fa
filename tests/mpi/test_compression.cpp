// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <entrain/compress/after.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/way.hpp>

#include "../trainer/compression_matrix.hpp"
#include "world.hpp"

using namespace entrain;

// One compressor of each payload, over MPI; all of them go over threads (tests/trainer/test_compression.cpp).
TEST_CASE("compressed gradients travel over MPI", "[compress]") {
  auto& world = tests::world();
  CHECK_NOTHROW(test::check_compression(world, compress::qsgd{}));
  CHECK_NOTHROW(test::check_compression(world, compress::shared_terngrad{}));  // sums of bytes
  CHECK_NOTHROW(test::check_compression(world, compress::error_feedback{compress::travel{compress::top_k{.ratio = 0.2}, compress::way::sparse}}));
  CHECK_NOTHROW(test::check_compression(world, compress::after{2, compress::per_layer{compress::rule{compress::error_feedback{compress::top_k{.ratio = 0.1}}, {.matrices = true}}, compress::none{}}}));
}
