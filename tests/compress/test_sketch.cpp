// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/sketch.hpp>
#include <entrain/compress/sketched_sgd.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "sparse.hpp"

// sketch and sketched_sgd.

using namespace entrain;

TEMPLATE_TEST_CASE("sketches keep the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::sketch{.ratio = 0.05});
  testing::check_compressor<TestType>(compress::sketch{.rows = 4, .columns = 100, .ratio = 0.01});
  testing::check_compressor<TestType>(compress::sketched_sgd{.ratio = 0.05});
  testing::check_compressor<TestType>(compress::sketched_sgd{.rows = 2, .columns = 50, .ratio = 0.2, .candidates = 1});
}

// The estimates of a sketch and its table, as plainly as can be.
struct plain_sketch {
  std::size_t rows, columns;
  compress::context where;
  std::size_t column(std::size_t r, std::uint32_t i) const { return std::size_t(std::floor(double(word(r, i) >> 1) / 2147483648.0 * double(columns))); }
  double sign(std::size_t r, std::uint32_t i) const { return word(r, i) % 2 == 1 ? -1 : 1; }
  std::vector<double> table(const std::vector<double>& x) const {
    std::vector<double> t(rows * columns);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::uint32_t i = 0; i < x.size(); ++i) t[r * columns + column(r, i)] += sign(r, i) * x[i];
    return t;
  }
  std::vector<double> estimates(const std::vector<double>& t, std::size_t n) const {
    std::vector<double> out(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      std::vector<double> e;
      for (std::size_t r = 0; r < rows; ++r) e.push_back(sign(r, i) * t[r * columns + column(r, i)]);
      std::sort(e.begin(), e.end());
      out[i] = (e[rows / 2] + e[(rows - 1) / 2]) / 2;
    }
    return out;
  }

 private:
  std::uint32_t word(std::size_t r, std::uint32_t i) const {
    return compress::detail::random_words(random_stream(where.seed, purpose::compress, where.block * 4096 + 4095, where.step), r)[i];
  }
};

static std::vector<double> table_of(const compress::sketch& c, const compress::context& where, std::vector<double> x) {
  compress::no_state none;
  std::vector<double> wire(c.wire_count<double>(x.size()));
  c.encode(none, where, std::span(x), std::span(wire));
  return wire;
}

TEST_CASE("sketch equals a plain implementation for 20 steps, odd and even rows", "[compress]") {
  for (const int rows : {1, 2, 3, 4, 5, 9})
    for (std::uint64_t step = 0; step < 20; ++step) {
      const std::size_t n = 3000;
      const compress::sketch policy{.rows = rows, .columns = 60, .ratio = 0.01};
      const compress::context where{9, step, 3, 1};
      auto x = sparse::gaussian<double>(n, step);
      for (double& v : x) v = v * v * v;
      const plain_sketch plain{std::size_t(rows), 60, where};
      const auto wire = table_of(policy, where, x);
      CHECK(wire == plain.table(x));
      const auto estimates = plain.estimates(wire, n);
      std::vector<double> expected(n), decoded(n);
      for (const std::uint32_t i : sparse::largest(estimates, 30)) expected[i] = estimates[i];
      policy.decode_add({9, step, 3, 0}, std::span<const double>(wire), std::span(decoded), 1.0);
      CHECK(decoded == expected);
    }
}

TEST_CASE("sketches are linear, alike on all ranks and another each step", "[compress]") {
  const compress::sketch policy{.rows = 5, .columns = 200};
  const auto a = sparse::gaussian<double>(5000, 1), b = sparse::gaussian<double>(5000, 2);
  auto sum = a;
  for (std::size_t i = 0; i < a.size(); ++i) sum[i] += b[i];
  const auto ta = table_of(policy, {1, 2, 3, 0}, a), tb = table_of(policy, {1, 2, 3, 7}, b), both = table_of(policy, {1, 2, 3, 4}, sum);
  for (std::size_t i = 0; i < ta.size(); ++i) CHECK(std::abs(ta[i] + tb[i] - both[i]) < 1e-11);
  CHECK(ta != table_of(policy, {1, 3, 3, 0}, a));
  CHECK(ta != table_of(policy, {1, 2, 4, 0}, a));
}

// Eight heavy values in noise of norm 10 spread over 4 ranks: estimates in 400 columns are off by about 0.5.
TEST_CASE("sketch finds heavy values of a sum that are heavy on no rank", "[compress]") {
  const std::size_t n = 10000;
  const compress::sketch policy{.rows = 5, .columns = 400, .ratio = 8.0 / double(n)};
  std::vector<double> table(policy.wire_count<double>(n)), out(n);
  for (std::uint32_t rank = 0; rank < 4; ++rank) {
    auto x = sparse::gaussian<double>(n, rank);
    for (double& v : x) v *= 0.05;
    for (std::size_t h = 0; h < 8; ++h) x[h * 1237 + 5] += 2;
    const auto part = table_of(policy, {1, 2, 3, rank}, x);
    for (std::size_t i = 0; i < part.size(); ++i) table[i] += part[i];
  }
  policy.decode_add({1, 2, 3, 0}, std::span<const double>(table), std::span(out), 1.0);
  for (std::size_t h = 0; h < 8; ++h) CHECK(std::abs(out[h * 1237 + 5] - 8) < 3);
}

TEST_CASE("sketched_sgd equals a plain implementation for 20 steps, and loses nothing", "[compress]") {
  using state = compress::sketched_sgd::state<double>;
  const std::size_t n = 1500, ranks = 4, k = 15, m = 45;
  const compress::sketched_sgd policy{.rows = 3, .columns = 50, .ratio = 0.01, .candidates = 3};
  REQUIRE(policy.round_count<double>(n, 0) == 150);
  REQUIRE(policy.round_count<double>(n, 1) == m);
  std::vector<state> states;
  for (std::size_t r = 0; r < ranks; ++r) states.push_back(policy.make_state<double>(n));
  std::vector<std::vector<double>> residual(ranks, std::vector<double>(n));
  std::vector<double> given(n), arrived(n);
  for (std::uint64_t step = 0; step < 20; ++step) {
    std::vector<std::vector<double>> values;
    for (std::size_t r = 0; r < ranks; ++r) {
      values.push_back(sparse::gaussian<double>(n, 1000 * r + step));
      for (std::size_t i = 0; i < n; ++i) values[r][i] *= 1 + double(i % 7), given[i] += values[r][i], residual[r][i] += values[r][i];
    }
    std::vector<double> summed;
    for (int round = 0; round < 2; ++round) {
      std::vector<double> next(policy.round_count<double>(n, round));
      for (std::size_t r = 0; r < ranks; ++r) {
        std::vector<double> wire(next.size());
        policy.round(states[r], {9, step, 3, std::uint32_t(r), 4}, round, std::span(values[r]), std::span<const double>(summed), std::span(wire));
        for (std::size_t j = 0; j < wire.size(); ++j) next[j] += wire[j];
      }
      summed = next;
    }
    for (std::size_t r = 0; r < ranks; ++r) policy.finish(states[r], {9, step, 3, std::uint32_t(r), 4}, std::span<const double>(summed), std::span(values[r]));

    const plain_sketch plain{3, 50, {9, step, 3, 0}};
    std::vector<double> table(150), sum(n), expected(n);
    for (std::size_t r = 0; r < ranks; ++r) {
      const auto part = plain.table(residual[r]);
      for (std::size_t j = 0; j < part.size(); ++j) table[j] += part[j];
      for (std::size_t i = 0; i < n; ++i) sum[i] += residual[r][i];
    }
    std::vector<double> candidates(n);
    for (const std::uint32_t i : sparse::largest(plain.estimates(table, n), m)) candidates[i] = sum[i];
    for (const std::uint32_t i : sparse::largest(candidates, k)) {
      expected[i] = sum[i];
      for (auto& e : residual) e[i] = 0;
    }
    for (std::size_t r = 0; r < ranks; ++r) {
      CHECK(values[r] == expected);
      CHECK(std::equal(residual[r].begin(), residual[r].end(), states[r].residual.begin()));
    }
    for (std::size_t i = 0; i < n; ++i) {
      arrived[i] += values[0][i];
      double left = 0;
      for (const auto& s : states) left += s.residual[i];
      CHECK(std::abs(arrived[i] + left - given[i]) < 1e-12 * (1 + std::abs(given[i])) * double(step + 1));
    }
  }
}

TEST_CASE("tables are never longer than the values, and rows are 1 to 9", "[compress]") {
  CHECK(compress::sketch{.rows = 5, .columns = 300}.wire_count<float>(100000) == 1500);
  CHECK(compress::sketch{.rows = 5, .columns = 300}.wire_count<float>(100) == 100);
  CHECK(compress::sketch{.rows = 5, .ratio = 0.01}.wire_count<float>(100000) == 10000);
  CHECK(compress::sketch{}.wire_count<float>(0) == 0);
  CHECK(compress::sketched_sgd{.ratio = 0.01}.round_count<float>(std::size_t(1000), 1) == 40);
  CHECK_THROWS_AS(compress::sketch{.rows = 0}.make_state<float>(10), usage_error);
  CHECK_THROWS_AS(compress::sketched_sgd{.rows = 10}.make_state<float>(10), usage_error);
}
