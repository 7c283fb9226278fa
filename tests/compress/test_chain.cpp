// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <set>
#include <vector>

#include <entrain/compress/cast.hpp>
#include <entrain/compress/chain.hpp>
#include <entrain/compress/dragonn.hpp>
#include <entrain/compress/elias_qsgd.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/testing/compressor_laws.hpp>

using namespace entrain;

TEMPLATE_TEST_CASE("chains keep the laws", "[compress]", float, double) {
  using namespace compress;
  testing::check_compressor<TestType>(chain{top_k{.ratio = 0.1}, cast<bfloat16>{}});
  testing::check_compressor<TestType>(chain{top_k{.ratio = 0.1}, sign{}, packed_indices{}});
  testing::check_compressor<TestType>(chain{sampled_top_k{.ratio = 0.1}, none{}, plain_indices{}});
}

TEST_CASE("chains with error feedback lose nothing", "[compress]") {
  using namespace compress;
  testing::check_error_feedback<double>(error_feedback{chain{top_k{.ratio = 0.1}, qsgd{.levels = 7}}});
  testing::check_error_feedback<double>(error_feedback{chain{top_k{.ratio = 0.1}, sign{}, packed_indices{}}});
  testing::check_error_feedback<double>(error_feedback{chain{dragonn{.ratio = 0.1}, cast<bfloat16>{}, packed_indices{}}});
}

TEST_CASE("bytes of a chain are those of the documentation", "[compress]") {
  using namespace compress;
  const std::size_t n = 5000, k = 50;  // 13 bits an index
  auto x = testing::detail::gaussian<float>(n, 3);
  const auto bytes = [&](const auto& c) {
    auto state = c.template make_state<float>(n);
    std::vector<std::uint8_t> wire(c.template wire_count<float>(n));
    auto copy = x;
    return c.encode(state, {}, std::span<float>(copy), std::span(wire));
  };
  CHECK(bytes(chain{top_k{.ratio = 0.01}, cast<bfloat16>{}, packed_indices{}}) == 4 + (k * 13 + 7) / 8 + 2 * k);
  CHECK(bytes(chain{top_k{.ratio = 0.01}, sign{}, plain_indices{}}) == 4 + 4 * k + 4 + (k + 7) / 8);
  // Gaps: one byte below 128, two below 16384.
  std::set<std::size_t> chosen;
  std::vector<std::pair<float, std::size_t>> order;
  for (std::size_t i = 0; i < n; ++i) order.push_back({-std::abs(x[i]), i});
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < k; ++i) chosen.insert(order[i].second);
  std::size_t expected = 4 + 2 * k, next = 0;
  for (const std::size_t i : chosen) expected += i - next < 128 ? 1 : 2, next = i + 1;
  CHECK(bytes(chain{top_k{.ratio = 0.01}, cast<bfloat16>{}}) == expected);
}

TEST_CASE("a chain equals its links, one after the other, over 20 steps", "[compress]") {
  using namespace compress;
  const std::size_t n = 700, k = 35;
  const error_feedback c{chain{top_k{.ratio = 0.05}, sign{}}};
  auto state = c.make_state<double>(n);
  std::vector<double> e(n);
  for (std::uint32_t step = 0; step < 20; ++step) {
    auto g = testing::detail::gaussian<double>(n, step);
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < n; ++i) e[i] += g[i], order.push_back({-std::abs(e[i]), i});
    std::sort(order.begin(), order.end());
    double mean = 0;
    for (std::size_t i = 0; i < k; ++i) mean += -order[i].first / double(k);
    std::vector<double> expected(n), found(n);
    for (std::size_t i = 0; i < k; ++i) {
      const std::size_t at = order[i].second;
      expected[at] = e[at] < 0 ? -mean : mean, e[at] -= expected[at];
    }
    std::vector<std::uint8_t> wire(c.wire_count<double>(n));
    const std::size_t filled = c.encode(state, {}, std::span<double>(g), std::span(wire));
    c.decode_add({}, std::span<const std::uint8_t>(wire).first(filled), std::span<double>(found), 1.0);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == Approx(expected[i]).margin(1e-12));
  }
}

TEST_CASE("damaged bytes are refused or decode within the block", "[compress]") {
  using namespace compress;
  const auto damage = [](const auto& c) {
    const std::size_t n = 300;
    auto x = testing::detail::gaussian<float>(n, 1);
    auto state = c.template make_state<float>(n);
    std::vector<std::uint8_t> wire(c.template wire_count<float>(n));
    wire.resize(c.encode(state, {}, std::span<float>(x), std::span(wire)));
    const random_stream random(1, purpose::user);
    int refused = 0;
    for (std::uint64_t trial = 0; trial < 3000; ++trial) {
      auto bad = wire;
      if (trial % 3 == 0) bad.resize(random.below(3 * trial, wire.size()));
      else bad[random.below(3 * trial, bad.size())] ^= std::uint8_t(1 + random.below(3 * trial + 1, 255));
      std::vector<float> out(n + 2, 0.0f);
      try {
        c.decode_add({}, std::span<const std::uint8_t>(bad), std::span<float>(out).subspan(1, n), 1.0f);
      } catch (const communication_error&) { ++refused; }
      REQUIRE(out.front() == 0.0f);
      REQUIRE(out.back() == 0.0f);
    }
    CHECK(refused > 1000);
  };
  damage(chain{top_k{.ratio = 0.1}, qsgd{}});
  damage(chain{top_k{.ratio = 0.1}, elias_qsgd{}});
  damage(chain{top_k{.ratio = 0.1}, cast<bfloat16>{}, packed_indices{}});
  damage(chain{top_k{.ratio = 0.1}, none{}, plain_indices{}});
}
