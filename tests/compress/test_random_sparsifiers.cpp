// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <cmath>
#include <numeric>
#include <vector>

#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/random_k.hpp>
#include <entrain/compress/variance_based.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "sparse.hpp"

// random_k, unbiased_random_k, variance_based.

using namespace entrain;

TEMPLATE_TEST_CASE("random sparsifiers keep the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::random_k{.ratio = 0.1});
  testing::check_compressor<TestType>(compress::unbiased_random_k{.ratio = 0.3});
  testing::check_compressor<TestType>(compress::variance_based{});
  testing::check_compressor<TestType>(compress::variance_based{.ratio = 0.4});
  testing::check_compressor<TestType>(compress::error_feedback{compress::random_k{.ratio = 0.1}});
}

TEST_CASE("error feedback around random_k loses nothing", "[compress]") {
  testing::check_error_feedback(compress::error_feedback{compress::random_k{}});
}

static std::vector<std::size_t> chosen(std::size_t n, double ratio, const compress::context& where) {
  std::vector<std::size_t> out;
  const std::size_t k = compress::random_k{.ratio = ratio}.wire_count<float>(n);
  compress::random_k::for_each_index(where, n, k, [&](std::size_t, std::size_t i) { out.push_back(i); });
  return out;
}

TEST_CASE("random_k equals a plain implementation for 20 steps", "[compress]") {
  for (const std::size_t n : {1, 2, 7, 100, 1001})
    for (std::uint64_t step = 0; step < 20; ++step) {
      const std::size_t k = std::size_t(std::ceil(0.3 * double(n)));
      const random_stream stream(9, purpose::compress, 3 * 4096 + 4095, step);
      const compress::detail::random_words words(stream);
      std::vector<double> x = sparse::gaussian<double>(n, step), expected(n), scaled(n), decoded(n), unbiased(n);
      for (std::size_t j = 0; j < k; ++j) {
        const std::size_t from = j * n / k, to = (j + 1) * n / k;
        const double share = double(words[std::uint32_t(j)]) / 4294967296.0;
        const std::size_t i = (stream.bits64(2) % n + from + std::size_t(std::floor(share * double(to - from)))) % n;
        expected[i] = x[i], scaled[i] = x[i] * (double(n) / double(k));
      }
      compress::no_state none;
      for (const std::uint32_t rank : {0u, 5u}) {
        const compress::context where{9, step, 3, rank};
        std::vector<double> wire(k), input = x;
        std::fill(decoded.begin(), decoded.end(), 0), std::fill(unbiased.begin(), unbiased.end(), 0);
        compress::random_k{.ratio = 0.3}.encode(none, where, std::span(input), std::span(wire));
        compress::random_k{.ratio = 0.3}.decode_add(where, std::span<const double>(wire), std::span(decoded), 1.0);
        compress::unbiased_random_k{.ratio = 0.3}.decode_add(where, std::span<const double>(wire), std::span(unbiased), 1.0);
        CHECK(decoded == expected);
        for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(unbiased[i] - scaled[i]) < 1e-14 * (1 + std::abs(scaled[i])));
      }
    }
}

// 200000 steps; 5 standard deviations for each of 37 + 10 + 101 indices: a right chance fails once in 10000 sets of seeds.
TEST_CASE("random_k chooses distinct indices, each with the chance k/n", "[compress]") {
  constexpr int draws = 200000;
  for (const auto& [n, ratio] : {std::pair<std::size_t, double>{37, 0.2}, {10, 0.95}, {101, 0.01}}) {
    std::vector<int> count(n);
    const std::size_t k = compress::random_k{.ratio = ratio}.wire_count<float>(n);
    for (std::uint64_t step = 0; step < draws; ++step) {
      const auto indices = chosen(n, ratio, {4, step, 1, 0});
      REQUIRE(indices.size() == k);
      std::vector<bool> seen(n);
      for (const std::size_t i : indices) {
        if (seen[i]) FAIL("an index was chosen twice");
        seen[i] = true, ++count[i];
      }
    }
    const double p = double(k) / double(n), deviation = std::sqrt(draws * p * (1 - p));
    for (const int c : count) CHECK(std::abs(c - draws * p) <= 5 * deviation);
  }
}

TEST_CASE("all ranks of random_k choose alike, and anew each step and block", "[compress]") {
  CHECK(chosen(1000, 0.1, {1, 2, 3, 0}) == chosen(1000, 0.1, {1, 2, 3, 17}));
  CHECK(chosen(1000, 0.1, {1, 2, 3, 0}) != chosen(1000, 0.1, {1, 3, 3, 0}));
  CHECK(chosen(1000, 0.1, {1, 2, 3, 0}) != chosen(1000, 0.1, {1, 2, 4, 0}));
  CHECK(chosen(1000, 0.1, {1, 2, 3, 0}) != chosen(1000, 0.1, {2, 2, 3, 0}));
}

template <class C>
static double squared_error(const C& c, const std::vector<double>& x, int draws) {
  double error = 0;
  auto state = c.template make_state<double>(x.size());
  for (std::uint64_t step = 0; step < std::uint64_t(draws); ++step) {
    std::vector<double> input = x, y(x.size());
    std::vector<compress::wire_of<C, double>> wire(c.template wire_count<double>(x.size()));
    const compress::context where{6, step, 1, 0};
    wire.resize(compress::encoded(c, state, where, std::span(input), std::span(wire)));
    c.decode_add(where, std::span<const compress::wire_of<C, double>>(wire), std::span(y), 1.0);
    for (std::size_t i = 0; i < x.size(); ++i) error += (x[i] - y[i]) * (x[i] - y[i]) / draws;
  }
  return error;
}

TEST_CASE("errors of random_k are (1 - k/n) and (n/k - 1) times the squared norm", "[compress]") {
  const auto x = sparse::gaussian<double>(1000, 8);
  const double all = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
  // One standard deviation of these means: 0.05 % and 0.5 %.
  CHECK(squared_error(compress::random_k{.ratio = 0.1}, x, 1000) == Approx(0.9 * all).epsilon(0.004));
  CHECK(squared_error(compress::unbiased_random_k{.ratio = 0.1}, x, 1000) == Approx(9 * all).epsilon(0.02));
}

// p_i and tau by the paper's algorithm 3, iterated to its end.
static std::vector<double> plain_chances(const std::vector<double>& g, double k) {
  double sum = 0;
  for (const double v : g) sum += std::abs(v);
  std::vector<double> p(g.size());
  for (std::size_t i = 0; i < g.size(); ++i) p[i] = sum > 0 ? std::min(1.0, k * std::abs(g[i]) / sum) : 0;
  for (double c = 2; c > 1 + 1e-14;) {
    double active = 0, certain = 0;
    for (const double v : p) v < 1 ? active += v : certain += 1;
    c = active > 0 ? (k - certain) / active : 1;
    if (c > 1)
      for (double& v : p) v = std::min(1.0, c * v);
  }
  return p;
}

TEST_CASE("variance_based equals a plain implementation for 20 steps", "[compress]") {
  for (const std::size_t n : {1, 10, 500, 5000})
    for (std::uint64_t step = 0; step < 20; ++step) {
      const compress::context where{9, step, 3, 2};
      auto g = sparse::gaussian<double>(n, step);
      for (double& v : g) v = v * v * v;
      const auto p = plain_chances(g, 0.1 * double(n));
      const auto wire = sparse::encode(compress::variance_based{.ratio = 0.1, .rounds = 100}, where, g);
      const compress::detail::random_words words(where);
      std::size_t at = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        if (p[i] < 1 && double(words[i] >> 1) >= p[i] * 2147483648.0 - 1) {
          if (at < wire.size()) CHECK(wire[at].index != i);
          continue;
        }
        REQUIRE(at < wire.size());
        CHECK(wire[at].index == i);
        CHECK(wire[at].value == Approx(g[i] / p[i]).epsilon(1e-9));
        ++at;
      }
      CHECK(at == wire.size());
    }
}

TEST_CASE("variance_based sends as many as it is told, with the stated error, less than even chances have", "[compress]") {
  const std::size_t n = 2000;
  const double k = 0.05 * double(n);
  auto g = sparse::gaussian<double>(n, 4);
  for (double& v : g) v = v * v * v;
  const auto p = plain_chances(g, k);
  double expected = 0, all = 0, sum = 0;
  for (std::size_t i = 0; i < n; ++i) expected += g[i] * g[i] * (1 / p[i] - 1), all += g[i] * g[i], sum += p[i];
  CHECK(sum == Approx(k).epsilon(1e-9));
  const compress::variance_based policy{.ratio = 0.05};
  CHECK(squared_error(policy, g, 2000) == Approx(expected).epsilon(0.02));
  CHECK(expected < 0.2 * (double(n) / k - 1) * all);

  double sent = 0;
  for (std::uint64_t step = 0; step < 2000; ++step) sent += double(sparse::encode(policy, {2, step, 0, 0}, g).size()) / 2000;
  CHECK(std::abs(sent - k) < 5 * std::sqrt(k / 2000) + 0.02 * k);  // and what four rounds leave unspent
  CHECK(policy.wire_count<double>(n) == 196);
}

TEST_CASE("variance_based sends sparse gradients whole, and nothing for zeros", "[compress]") {
  std::vector<float> g(1000);
  CHECK(sparse::encode(compress::variance_based{}, {}, g).empty());
  g[3] = 2, g[500] = -1e-30f, g[999] = 1e30f;
  const auto wire = sparse::encode(compress::variance_based{.ratio = 0.02, .rounds = 10}, {}, g);
  CHECK(sparse::same(wire, {3, 500, 999}, g));
}
