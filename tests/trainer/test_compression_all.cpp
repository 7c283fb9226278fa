// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/comm/threads.hpp>

#include "compression_matrix.hpp"

using namespace entrain;

namespace {
template <class C>
void on_threads(const C& c) {
  for (const int ranks : {1, 3, 4}) CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) { test::check_compression(world, c); }));
}
}  // namespace

TEST_CASE("every quantiser trains", "[compress]") {
  on_threads(compress::qsgd{.levels = 7});
  on_threads(compress::elias_qsgd{});
  on_threads(compress::terngrad{});
  on_threads(compress::error_feedback{compress::sign{}});
  on_threads(compress::error_feedback{compress::one_bit{}});
}
