// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <entrain/compress/way.hpp>

#include "encoded_test.hpp"

// Entries that are picked out on the device by a sample's threshold: bit for bit what comes of picking them on the host.

using namespace entrain;
using compress::error_feedback;
using compress::travel;
using compress::way;
using test::check_as_staged;

TEST_CASE("as many as a sample promises", "[device][compress]") {
  check_as_staged(error_feedback{compress::sampled_top_k{.ratio = 0.05}});
  for (const auto w : {way::gather, way::sparse}) check_as_staged<float>(2, error_feedback{travel{compress::sampled_top_k{.ratio = 0.05}, w}});
}

TEST_CASE("slots of dragonn", "[device][compress]") {
  check_as_staged(error_feedback{compress::dragonn{.ratio = 0.05}, true});
  check_as_staged<float>(2, travel{compress::dragonn{.ratio = 0.05}, way::dense});
}
