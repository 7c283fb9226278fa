// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow, computes
#include "../catch.hpp"

#include <cstdint>

#include <entrain/comm/simulated.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/momentum_correction.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../../examples/glyphs.hpp"

// What deep gradient compression claims of its two corrections (Lin et al., ICLR 2018, sections 3.1 and 3.2): with 1 % of the values, momentum
// before the selection and masked learns faster than the same selection with momentum in the optimizer. Drawn digits, 4 ranks, 120 steps.
//
// It is a matter of the rate: found for 0.025 and 0.05 with each of three seeds (at 0.05: 0.55 to 0.72 against 0.91 to 1.03 without and 1.02 to
// 1.72 with a residual). At 0.1 the corrected steps overshoot and lose to both. With each method at the best rate of a grid from 0.0125 to 0.2 two
// seeds favour correction (0.55 against 0.79, 0.68 against 0.90) and one is even. The mask alone is not shown to help.

using namespace entrain;

namespace {

template <class C>
double loss(const optim::sgd& optimizer, const C& c) {
  double mean = 0;
  for (const std::uint64_t seed : {1u, 2u})
    comm::simulate(4, [&](comm::simulated& world) {
      trainer run{nn::mlp{.inputs = 784, .hidden = {32}, .outputs = 10}, optimizer, world, c};
      run.initialise(seed);
      run.fit(glyphs{.samples = 2000}, {.steps = 120, .batch = 64, .seed = seed, .prefetch = false});
      const auto result = run.evaluate(glyphs{.samples = 500, .seed = 2});
      if (world.rank() == 0) mean += result.mean() / 2;
    });
  return mean;
}

}  // namespace

TEST_CASE("momentum before the selection, masked, learns faster than momentum after it", "[compress]") {
  using namespace compress;
  const optim::sgd plain{.learning_rate = 0.05}, with_momentum{.learning_rate = 0.05, .momentum = 0.9};
  const top_k selected{.ratio = 0.01};
  const double corrected = loss(plain, momentum_correction{selected}), naive = loss(with_momentum, selected), kept = loss(with_momentum, error_feedback{selected});
  INFO("corrected and masked " << corrected << ", naive " << naive << ", naive with a residual " << kept);
  CHECK(corrected < 0.8 * naive);
  CHECK(corrected < 0.8 * kept);
}
