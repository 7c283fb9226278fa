// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/dgc.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/power_sgd.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "device_test.hpp"
#include "encoded_test.hpp"

// Gradients that are encoded on the device: parameters are bit for bit those of a trainer that encodes the same on the host.

using namespace entrain;
using test::check_as_staged;

template <class C>
constexpr bool on_device = parallel::encodes_on_device<float, engine::cuda_queue, C>;
static_assert(on_device<compress::sign> && on_device<compress::qsgd> && on_device<compress::terngrad> && on_device<compress::top_k> && on_device<compress::sampled_top_k>);
static_assert(on_device<compress::dragonn> && on_device<compress::random_k> && on_device<compress::cast<bfloat16>> && on_device<compress::stochastic_cast<float8_e4m3>>);
static_assert(on_device<compress::error_feedback<compress::sign>> && on_device<compress::error_feedback<compress::travel<compress::top_k>>>);
static_assert(!on_device<compress::none> && !on_device<compress::power_sgd> && !on_device<compress::per_layer<compress::sign, compress::cast<bfloat16>>>);
static_assert(!on_device<test::host_only<compress::sign>> && !on_device<compress::error_feedback<test::host_only<compress::sign>>>);

TEST_CASE("signs and levels that are encoded on the device teach what the host's teach", "[device][compress]") {
  for (const int ranks : {1, 2, 3, 4}) {
    check_as_staged(ranks, compress::sign{});
    check_as_staged(ranks, compress::qsgd{});
    check_as_staged(ranks, compress::terngrad{.packing = compress::trits::base3});
  }
}
