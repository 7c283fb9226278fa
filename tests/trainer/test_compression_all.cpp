// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
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

// Rates are small: some of these keep momentum or residuals of their own.
TEST_CASE("every quantiser trains", "[compress]") {
  on_threads(compress::qsgd{.levels = 7});
  on_threads(compress::elias_qsgd{});
  on_threads(compress::terngrad{});
  on_threads(compress::error_feedback{compress::sign{}});
  on_threads(compress::error_feedback{compress::one_bit{}});
}

TEST_CASE("every sparsifier trains", "[compress]") {
  on_threads(compress::error_feedback{compress::sampled_top_k{.ratio = 0.1}});
  on_threads(compress::error_feedback{compress::threshold{.value = 0.1}});
  on_threads(compress::error_feedback{compress::adaptive_threshold{.ratio = 0.1}});
  on_threads(compress::error_feedback{compress::dragonn{.ratio = 0.1}});
  on_threads(compress::error_feedback{compress::random_k{.ratio = 0.2}});
  on_threads(compress::variance_based{.ratio = 0.2});
}

TEST_CASE("sketches, chains and warm-up train", "[compress]") {
  on_threads(compress::sketched_sgd{.ratio = 0.1});
  on_threads(compress::error_feedback{compress::chain{compress::top_k{.ratio = 0.1}, compress::qsgd{.levels = 15}}});
  on_threads(compress::error_feedback{compress::warm_up{compress::top_k{.ratio = 0.05}, {.steps_each = 1}}});
}

TEST_CASE("momentum is the compressor's or the optimizer's, not both", "[compress]") {
  using namespace compress;
  const auto make = [](double momentum) {
    trainer run{test::line<float>{}, optim::sgd{.momentum = momentum}, per_layer{rule{dgc{}, {.matrices = true}}, momentum_correction{none{}}}};
    run.fit(test::plane{}, {.steps = 2, .batch = 8});
  };
  CHECK_NOTHROW(make(0));
  CHECK_THROWS_AS(make(0.9), usage_error);
}
