// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <entrain/compress/adaptive_threshold.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/threshold.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "sparse.hpp"

// top_k on long blocks, sampled_top_k, threshold and adaptive_threshold.

using namespace entrain;

TEMPLATE_TEST_CASE("sparsifiers by threshold keep the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::sampled_top_k{});
  testing::check_compressor<TestType>(compress::sampled_top_k{.ratio = 0.2, .sample = 0.1});
  testing::check_compressor<TestType>(compress::threshold{.value = 1});
  testing::check_compressor<TestType>(compress::threshold{.value = 0.5, .most = 0.1});
  testing::check_compressor<TestType>(compress::adaptive_threshold{.ratio = 0.1});
  testing::check_compressor<TestType>(compress::error_feedback{compress::adaptive_threshold{.ratio = 0.1}});
}

TEST_CASE("error feedback around sparsifiers by threshold loses nothing", "[compress]") {
  testing::check_error_feedback(compress::error_feedback{compress::sampled_top_k{}});
  testing::check_error_feedback(compress::error_feedback{compress::threshold{.value = 2}});
  testing::check_error_feedback(compress::error_feedback{compress::adaptive_threshold{}});
}

TEMPLATE_TEST_CASE("top_k is exact on long blocks, whatever its guess of the threshold was", "[compress]", float, double) {
  using T = TestType;
  const std::size_t n = 40000;
  std::vector<std::vector<T>> inputs{sparse::gaussian<T>(n, 1)};
  for (int kind = 0; kind < 5; ++kind) {
    auto x = inputs[0];
    for (std::size_t i = 0; i < n; ++i) {
      const bool sampled = i % 16 == 0;                                  // what a strided guess may see
      if (kind == 0) x[i] = sampled ? T(1e-30) : x[i];                   // the guess is too low
      if (kind == 1) x[i] = sampled ? x[i] * T(1e20) : x[i];             // the guess is too high
      if (kind == 2) x[i] = T(std::round(double(x[i])));                 // ties
      if (kind == 3) x[i] = x[i] * std::numeric_limits<T>::denorm_min() * T(1000);
      if (kind == 4) x[i] = i % 1000 == 7 ? x[i] : T(0);                 // mostly zeros
    }
    inputs.push_back(x);
  }
  for (const auto& x : inputs)
    for (const double ratio : {1e-9, 0.001, 0.01, 0.1, 0.5, 0.999, 1.0}) {
      const compress::top_k policy{.ratio = ratio};
      auto expected = sparse::by_magnitude(x);
      expected.resize(policy.wire_count<T>(n));
      std::sort(expected.begin(), expected.end());
      CHECK(sparse::same(sparse::encode(policy, {}, x), expected, x));
    }
}

TEST_CASE("top_k equals a plain implementation for 20 steps", "[compress]") {
  const auto plain = [](const std::vector<double>& x, const auto&) { return sparse::largest(x, std::size_t(std::ceil(0.02 * double(x.size())))); };
  for (const std::size_t n : {1, 7, 1000, 20000}) CHECK(sparse::same_for_twenty_steps(compress::error_feedback{compress::top_k{.ratio = 0.02}}, n, plain));
}

// The sample of sampled_top_k: at equal distances from a random start.
static double plain_sampled_threshold(const std::vector<double>& x, std::size_t samples, double ratio, const compress::context& where) {
  const std::size_t stride = x.size() / samples;
  const std::uint64_t starts = x.size() - stride * (samples - 1), word = compress::detail::random_words(where)[0];
  std::vector<double> sample;
  for (std::size_t j = 0; j < samples; ++j) sample.push_back(std::abs(x[std::size_t((word * starts) >> 32) + j * stride]));
  std::sort(sample.rbegin(), sample.rend());
  return sample[std::size_t(std::ceil(ratio * double(samples))) - 1];
}

TEST_CASE("sampled_top_k equals a plain implementation for 20 steps", "[compress]") {
  const double ratio = 0.02;
  int exact = 0, lowered = 0;
  for (const std::size_t n : {100, 3000, 30000, 90000}) {
    const auto plain = [&](const std::vector<double>& x, const compress::context& where) {
      const std::size_t k = std::size_t(std::ceil(ratio * double(n)));
      const std::size_t samples = std::min(n, std::size_t(std::ceil(std::max(0.01 * double(n), 16 / ratio))));
      double t = plain_sampled_threshold(x, samples, ratio, where);
      auto chosen = sparse::at_least(x, t);
      for (int round = 0; round < 10 && double(chosen.size()) < std::ceil(0.8 * double(k)); ++round, ++lowered) chosen = sparse::at_least(x, t *= 0.8);
      if (double(chosen.size()) > std::ceil(1.3 * double(k))) chosen = sparse::largest(x, k), ++exact;
      return chosen;
    };
    CHECK(sparse::same_for_twenty_steps(compress::error_feedback{compress::sampled_top_k{.ratio = ratio}}, n, plain));
  }
  CHECK(exact > 0);
  CHECK(lowered > 0);
}

TEMPLATE_TEST_CASE("sampled_top_k sends 0.8 k to 1.3 k of the largest values, whatever they are", "[compress]", float, double) {
  using T = TestType;
  const compress::sampled_top_k policy{.ratio = 0.01};
  const std::size_t n = 50000, k = 500;
  CHECK(policy.wire_count<T>(n) == 650);
  for (int kind = 0; kind < 6; ++kind)
    for (std::uint64_t step = 0; step < 30; ++step) {
      auto x = sparse::gaussian<T>(n, step);
      for (std::size_t i = 0; i < n; ++i) {
        if (kind == 1) x[i] = T(1);
        if (kind == 2) x[i] = i % 31 == 0 ? T(3) : x[i] * T(1e-20);  // in step with the sample's stride
        if (kind == 3) x[i] = std::pow(x[i], T(9));
        if (kind == 4) x[i] = i % 50 == 0 ? x[i] : T(0);
        if (kind == 5) x[i] = std::round(x[i]);
      }
      const auto wire = sparse::encode(policy, {1, step, 0, 0}, x);
      CHECK(wire.size() >= k * 8 / 10);
      CHECK(wire.size() <= 650);
      auto expected = sparse::by_magnitude(x);
      expected.resize(wire.size());
      std::sort(expected.begin(), expected.end());
      CHECK(sparse::same(wire, expected, x));
    }
  CHECK(sparse::encode(policy, {}, std::vector<T>(n, T(0))).empty());
  auto few = std::vector<T>(n, T(0));
  few[4711] = T(-2), few[n - 1] = std::numeric_limits<T>::denorm_min();
  CHECK(sparse::same(sparse::encode(policy, {}, few), {4711, std::uint32_t(n - 1)}, few));
}

TEST_CASE("threshold equals a plain implementation for 20 steps", "[compress]") {
  const auto all = [](const std::vector<double>& x, const auto&) { return sparse::at_least(x, 2.5); };
  const auto some = [](const std::vector<double>& x, const auto&) {
    return sparse::largest(x, std::min(sparse::at_least(x, 0.5).size(), std::size_t(std::ceil(0.05 * double(x.size())))));
  };
  for (const std::size_t n : {1, 100, 5000}) {
    CHECK(sparse::same_for_twenty_steps(compress::error_feedback{compress::threshold{.value = 2.5}}, n, all));
    CHECK(sparse::same_for_twenty_steps(compress::error_feedback{compress::threshold{.value = 0.5, .most = 0.05}}, n, some));
  }
}

TEST_CASE("adaptive_threshold equals a plain implementation for 20 steps", "[compress]") {
  for (const std::size_t n : {1, 100, 5000}) {
    double t = 0;
    const std::size_t k = std::size_t(std::ceil(0.02 * double(n)));
    const compress::adaptive_threshold policy{.ratio = 0.02, .most = 1.6, .exact_every = 8};
    CHECK(sparse::same_for_twenty_steps(compress::error_feedback{policy}, n, [&](const std::vector<double>& x, const auto& where) {
      if (t == 0 || where.step % 8 == 0) t = std::abs(x[sparse::by_magnitude(x)[k - 1]]);
      auto sent = sparse::at_least(x, t);
      if (sent.size() > std::size_t(std::ceil(1.6 * double(k)))) sent = sparse::largest(x, std::size_t(std::ceil(1.6 * double(k))));
      if (double(sent.size()) > 1.25 * double(k)) t *= 1.012;
      else if (sent.empty()) t = 0;
      else if (double(sent.size()) < 2.0 / 3 * double(k)) t /= 1.012;
      return sent;
    }));
  }
}

// Gradients shrink by 0.5 % a step: the share that is sent stays near the ratio, without an exact step.
TEST_CASE("adaptive_threshold follows gradients that shrink and grow", "[compress]") {
  const std::size_t n = 20000;
  const compress::adaptive_threshold policy{.ratio = 0.01, .exact_every = 1000000};
  auto state = policy.make_state<float>(n);
  double size = 1, least = 1, most = 0;
  for (std::uint64_t step = 0; step < 300; ++step) {
    size *= step < 150 ? 0.995 : 1.005;
    auto x = sparse::gaussian<float>(n, step);
    for (float& v : x) v *= float(size);
    const double sent = double(sparse::encode(policy, state, {1, step, 0, 0}, x).size()) / double(n);
    least = std::min(least, sent), most = std::max(most, sent);
  }
  CHECK(least > 0.004);  // nudged below 2k/3 = 0.0067; four standard deviations of such a count are 0.002
  CHECK(most < 0.016);
  CHECK(state.threshold > 1);
}

TEST_CASE("wire sizes of sparsifiers by threshold are those of their headers", "[compress]") {
  CHECK(sizeof(compress::sparse_entry<float>) == 8);
  CHECK(compress::sampled_top_k{.ratio = 0.01}.wire_count<float>(1000) == 13);
  CHECK(compress::sampled_top_k{.ratio = 0.01}.wire_count<float>(1) == 1);
  CHECK(compress::sampled_top_k{.ratio = 0.01}.wire_count<float>(0) == 0);
  CHECK(compress::threshold{.value = 1}.wire_count<float>(1000) == 1000);
  CHECK(compress::threshold{.value = 1, .most = 0.1}.wire_count<float>(1000) == 100);
  CHECK(compress::adaptive_threshold{.ratio = 0.01}.wire_count<float>(1000) == 20);
  CHECK(compress::adaptive_threshold{.ratio = 0.01}.wire_count<float>(1) == 1);
}
