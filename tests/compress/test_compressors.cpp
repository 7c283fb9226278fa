// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <entrain/compress/compress.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/scaled.hpp>
#include <entrain/testing/compressor_laws.hpp>

using namespace entrain;

TEMPLATE_TEST_CASE("every compressor keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::none{});
  testing::check_compressor<TestType>(compress::cast<bfloat16>{});
  testing::check_compressor<TestType>(compress::top_k{.ratio = 0.01});
  testing::check_compressor<TestType>(compress::top_k{.ratio = 0.5});
  testing::check_compressor<TestType>(compress::top_k{.ratio = 1});
  testing::check_compressor<TestType>(compress::error_feedback{compress::top_k{.ratio = 0.1}});
  testing::check_compressor<TestType>(compress::error_feedback{compress::cast<bfloat16>{}});
}

TEMPLATE_TEST_CASE("an unbiased compressor scaled down is a contraction, and may have error feedback", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::scaled{compress::qsgd{.levels = 1, .bucket = 64}});
  testing::check_compressor<TestType>(compress::scaled{compress::qsgd{.levels = 4}});
  testing::check_error_feedback<double>(compress::error_feedback{compress::scaled{compress::qsgd{.levels = 2, .bucket = 0}}});
}

TEST_CASE("error feedback loses nothing", "[compress]") {
  testing::check_error_feedback<double>(compress::error_feedback{compress::top_k{.ratio = 0.01}});
  testing::check_error_feedback<double>(compress::error_feedback{compress::cast<bfloat16>{}});
  testing::check_error_feedback<float>(compress::error_feedback{compress::top_k{.ratio = 0.1}});
}

TEMPLATE_TEST_CASE("top_k sends exactly the k largest magnitudes, ties to the lowest index", "[compress]", float, double) {
  using T = TestType;
  for (std::uint32_t seed = 0; seed < 20; ++seed)
    for (const std::size_t n : {1, 2, 10, 257, 1000}) {
      auto x = testing::detail::gaussian<T>(n, seed);
      for (std::size_t i = 0; i < n; i += 3) x[i] = T(std::round(double(x[i]) * 2));  // many ties, zeros and signs
      const compress::top_k policy{.ratio = 0.1};
      auto state = policy.make_state<T>(n);
      std::vector<compress::sparse_entry<T>> wire(policy.wire_count<T>(n));
      policy.encode(state, {}, std::span<T>(x), std::span(wire));

      std::vector<std::uint32_t> order(n);
      for (std::uint32_t i = 0; i < n; ++i) order[i] = i;
      std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::abs(x[a]) > std::abs(x[b]); });
      order.resize(wire.size());
      std::sort(order.begin(), order.end());
      for (std::size_t i = 0; i < wire.size(); ++i) {
        REQUIRE(wire[i].index == order[i]);
        REQUIRE(wire[i].value == x[order[i]]);
      }
    }
}

TEST_CASE("wire sizes are those of the documentation", "[compress]") {
  CHECK(compress::none{}.wire_count<float>(1000) * sizeof(float) == 4000);
  CHECK(compress::cast<bfloat16>{}.wire_count<float>(1000) * sizeof(bfloat16) == 2000);
  CHECK(compress::top_k{.ratio = 0.01}.wire_count<float>(1000) * sizeof(compress::sparse_entry<float>) == 80);
  CHECK(compress::top_k{.ratio = 0.01}.wire_count<float>(1) == 1);
  CHECK(compress::top_k{.ratio = 0.01}.wire_count<float>(0) == 0);
}

TEST_CASE("bfloat16 rounds to nearest, ties to even, and keeps NaN and infinity", "[core]") {
  CHECK(float(bfloat16(1.0f)) == 1.0f);
  CHECK(bfloat16(1.00390625f).bits == 0x3f80);   // halfway to the next: even stays
  CHECK(bfloat16(1.01171875f).bits == 0x3f82);   // halfway: rounds to even
  CHECK(bfloat16(1.004f).bits == 0x3f81);
  CHECK(std::isnan(float(bfloat16(std::nanf("1")))));
  CHECK(std::isinf(float(bfloat16(INFINITY))));
  CHECK(std::isinf(float(bfloat16(3.4e38f))));
}
