// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/testing/compressor_laws.hpp>

using namespace entrain;

namespace {

// sum(rate * gradient) = sum(rate * sent) + rate * residual, with a rate that falls.
template <class C>
double missing(const C& c) {
  const std::size_t n = 300;
  auto state = c.template make_state<double>(n);
  std::vector<double> given(n), applied(n);
  double rate = 0, worst = 0;
  for (std::uint32_t step = 0; step < 40; ++step) {
    rate = 0.5 / (1 + step);
    auto g = testing::detail::gaussian<double>(n, step);
    for (std::size_t i = 0; i < n; ++i) given[i] += rate * g[i];
    std::vector<compress::wire_of<C, double>> wire(c.template wire_count<double>(n));
    const compress::context where{.seed = 1, .step = step, .block = 2, .learning_rate = rate};
    c.encode(state, where, std::span<double>(g), std::span(wire));
    c.decode_add(where, std::span<const compress::wire_of<C, double>>(wire), std::span<double>(applied), rate);
  }
  for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(applied[i] + rate * state.residual[i] - given[i]));
  return worst;
}

}  // namespace

TEST_CASE("a rescaled residual accounts for every update while the rate changes", "[compress]") {
  CHECK(missing(compress::error_feedback{compress::top_k{.ratio = 0.02}, true}) < 1e-12);
  CHECK(missing(compress::error_feedback{compress::sign{}, true}) < 1e-12);
  CHECK(missing(compress::error_feedback{compress::top_k{.ratio = 0.02}}) > 1e-3);  // in the gradient's unit it does not
}

TEST_CASE("error feedback equals its plain form over 20 steps", "[compress]") {
  const std::size_t n = 100;
  const compress::error_feedback c{compress::sign{}};
  auto state = c.make_state<double>(n);
  std::vector<double> e(n);
  for (std::uint32_t step = 0; step < 20; ++step) {
    auto g = testing::detail::gaussian<double>(n, step);
    double mean = 0;
    for (std::size_t i = 0; i < n; ++i) mean += std::abs(g[i] + e[i]) / double(n);
    std::vector<double> expected(n), found(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = g[i] + e[i] < 0 ? -mean : mean, e[i] = g[i] + e[i] - expected[i];
    std::vector<std::uint8_t> wire(c.wire_count<double>(n));
    c.encode(state, {}, std::span<double>(g), std::span(wire));
    c.decode_add({}, std::span<const std::uint8_t>(wire), std::span<double>(found), 1.0);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == Approx(expected[i]));
  }
}
