// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/dragonn.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "sparse.hpp"

using namespace entrain;

TEMPLATE_TEST_CASE("dragonn keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::dragonn{});
  testing::check_compressor<TestType>(compress::dragonn{.ratio = 0.2, .slots_per_entry = 1});
  testing::check_compressor<TestType>(compress::error_feedback{compress::dragonn{}});
}

TEST_CASE("error feedback around dragonn loses nothing, collisions included", "[compress]") {
  testing::check_error_feedback(compress::error_feedback{compress::dragonn{}});
  testing::check_error_feedback(compress::error_feedback{compress::dragonn{.ratio = 0.1, .slots_per_entry = 0.5}});
}

TEST_CASE("dragonn equals a plain implementation for 20 steps", "[compress]") {
  for (const std::size_t n : {1, 50, 3000, 40000}) {
    const double ratio = 0.02;
    const std::size_t samples = std::min(n, std::size_t(std::ceil(std::max(0.01 * double(n), 16 / ratio))));
    const std::size_t slots = 4 * std::max<std::size_t>(1, n / 50);
    const auto below = [](std::uint32_t word, std::size_t end) { return std::size_t(std::floor(double(word) / 4294967296.0 * double(end))); };
    const auto plain = [&](const std::vector<double>& x, const compress::context& where) {
      const compress::detail::random_words hash(where, 0), pick(where, 1);
      std::vector<double> sample;
      for (std::uint32_t j = 0; j < samples; ++j) sample.push_back(std::abs(x[below(pick[j], n)]));
      std::sort(sample.rbegin(), sample.rend());
      std::map<std::size_t, std::uint32_t> table;
      for (const std::uint32_t i : sparse::at_least(x, sample[std::size_t(std::ceil(ratio * double(samples))) - 1])) table[below(hash[i], slots)] = i;
      std::vector<std::uint32_t> chosen;
      for (const auto& [slot, i] : table) chosen.push_back(i);
      return chosen;
    };
    CHECK(sparse::same_for_twenty_steps(compress::error_feedback{compress::dragonn{.ratio = ratio}}, n, plain));
  }
}

// Of the values above the threshold (the smallest one sent, all but a few in 10000). Standard deviation of the mean of 8: 0.0015 for l = k.
TEST_CASE("dragonn keeps 0.632, 0.787 and 0.885 of k for l = k, 2k and 4k", "[compress][slow]") {
  const std::size_t n = std::size_t(1) << 20;
  const auto x = sparse::gaussian<float>(n, 5);
  const double slots[] = {1, 2, 4}, expected[] = {0.632, 0.787, 0.885};
  for (int c = 0; c < 3; ++c) {
    const compress::dragonn policy{.ratio = 0.01, .sample = 1, .slots_per_entry = slots[c]};
    auto state = policy.make_state<float>(n);
    double kept = 0;
    constexpr int steps = 8;
    for (std::uint64_t step = 0; step < steps; ++step) {
      const auto wire = sparse::encode(policy, state, {1, step, 0, 0}, x);
      float least = 1e9f;
      for (const auto& e : wire) least = std::min(least, std::abs(e.value));
      std::size_t above = 0;
      for (const float v : x) above += std::abs(v) >= least;
      kept += double(wire.size()) / double(above) / steps;
    }
    CHECK(std::abs(kept - expected[c]) < 0.005);
  }
}

TEST_CASE("dragonn sends distinct entries above its threshold, 8 bytes each, and as many as it says", "[compress]") {
  const std::size_t n = 200000;
  const auto x = sparse::gaussian<float>(n, 6);
  const auto wire = sparse::encode(compress::dragonn{}, {1, 2, 0, 0}, x);
  std::set<std::uint32_t> seen;
  for (const auto& e : wire) CHECK((seen.insert(e.index).second && e.value == x[e.index] && std::abs(e.value) > 2.2f));
  CHECK(wire.size() > 1200);
  CHECK(wire.size() < 2400);
  CHECK(sizeof(wire[0]) * wire.size() == 8 * seen.size());
}

// Of 200 steps: the first index survives its collisions in 37 % of them, the smallest are above the sampled threshold in half.
TEST_CASE("dragonn sends index 0, and other survivors of collisions each step", "[compress]") {
  const std::size_t n = 4000;
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; i += 100) x[i] = float(100 + i);
  std::vector<int> sent(n);
  const compress::dragonn policy{.ratio = 0.01, .slots_per_entry = 1};
  for (std::uint64_t step = 0; step < 200; ++step)
    for (const auto& e : sparse::encode(policy, {1, step, 0, 0}, x)) ++sent[e.index];
  for (std::size_t i = 0; i < n; i += 100) CHECK(sent[i] > 20);
}

TEST_CASE("dragonn's slots bound what equal magnitudes make of a sampled threshold", "[compress]") {
  const compress::dragonn policy{};
  for (const std::size_t n : {1, 2, 100, 50000}) {
    CHECK(sparse::encode(policy, {}, std::vector<float>(n, 1.0f)).size() <= policy.wire_count<float>(n));
    CHECK(sparse::encode(policy, {}, std::vector<float>(n, 1.0f)).size() > 0);
    CHECK(sparse::encode(policy, {}, std::vector<float>(n, 0.0f)).empty());
  }
  CHECK(policy.wire_count<float>(1000) == 40);
  CHECK(policy.wire_count<float>(1) == 1);
  CHECK(policy.wire_count<float>(0) == 0);
}

TEST_CASE("small blocks have a ratio of at least 1 % in dragonn", "[compress]") {
  CHECK(compress::dragonn{.ratio = 0.001}.wire_count<float>(131072) == 4 * 1310);
  CHECK(compress::dragonn{.ratio = 0.001}.wire_count<float>(132000) == 4 * 132);
  CHECK(compress::dragonn{.ratio = 0.001, .small_block = 0}.wire_count<float>(131072) == 4 * 131);
  CHECK(compress::dragonn{.ratio = 0.1}.wire_count<float>(1000) == 400);
}
