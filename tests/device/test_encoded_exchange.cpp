// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/power_sgd.hpp>
#include <entrain/device/device.cuh>

#include "encoded_test.hpp"

// Gradients that are encoded on the device, gathered or summed: bit for bit what comes of encoding the same on the host.

using namespace entrain;
using compress::error_feedback;
using test::check_as_staged;

template <class C>
constexpr bool on_device = parallel::encodes_on_device<float, engine::cuda_queue, C>;
static_assert(on_device<compress::sign> && on_device<compress::qsgd> && on_device<compress::terngrad> && on_device<compress::top_k> && on_device<compress::sampled_top_k>);
static_assert(on_device<compress::dragonn> && on_device<compress::random_k> && on_device<compress::cast<bfloat16>> && on_device<compress::stochastic_cast<float8_e4m3>>);
static_assert(on_device<error_feedback<compress::sign>> && on_device<error_feedback<compress::travel<compress::top_k>>>);
static_assert(!on_device<compress::none> && !on_device<compress::power_sgd> && !on_device<compress::per_layer<compress::sign, compress::cast<bfloat16>>>);
static_assert(!on_device<test::host_only<compress::sign>> && !on_device<error_feedback<test::host_only<compress::sign>>>);

TEST_CASE("signs and levels", "[device][compress]") {
  check_as_staged(compress::sign{});
  check_as_staged(compress::qsgd{});
  check_as_staged(compress::terngrad{.packing = compress::trits::base3});
}

TEST_CASE("casts, summed in their format or gathered", "[device][compress]") {
  check_as_staged(compress::cast<bfloat16>{});
  check_as_staged(compress::stochastic_cast<float16>{});
  check_as_staged(compress::cast<float8_e5m2>{});
}

TEST_CASE("random indices that ranks share", "[device][compress]") { check_as_staged(compress::unbiased_random_k{.ratio = 0.1}); }

TEST_CASE("what encodings leave out is kept on the device", "[device][compress]") {
  check_as_staged(error_feedback{compress::sign{}, true});
  check_as_staged(error_feedback{compress::cast<bfloat16>{}});
  for (const bool whole_blocks : {false, true}) check_as_staged<float>(2, error_feedback{compress::cast<bfloat16>{}}, 1 << 20, whole_blocks);
  check_as_staged(error_feedback{compress::random_k{.ratio = 0.1}});
}
