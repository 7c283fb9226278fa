// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <entrain/compress/way.hpp>

#include "encoded_test.hpp"

// Entries that are picked out on the device, on all their ways: bit for bit what comes of picking them on the host.

using namespace entrain;
using compress::error_feedback;
using compress::travel;
using compress::way;
using test::check_as_staged;

TEST_CASE("the largest values, gathered, merged or summed densely", "[device][compress]") {
  check_as_staged(compress::top_k{.ratio = 0.05});
  for (const auto w : {way::gather, way::sparse, way::dense}) check_as_staged<float>(2, travel{compress::top_k{.ratio = 0.02}, w}, 10000);
  check_as_staged<bfloat16>(2, travel{compress::top_k{.ratio = 0.02}, way::sparse}, 10000);
  check_as_staged<bfloat16>(2, travel{compress::top_k{.ratio = 0.4}, way::sparse}, 10000);  // becomes dense on its way
}

TEST_CASE("the largest values, the others kept", "[device][compress]") { check_as_staged(error_feedback{compress::top_k{.ratio = 0.05}, true}); }
