// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/power_sgd.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "exchange_by_hand.hpp"

using namespace entrain;

namespace {

using matrix = std::vector<std::vector<double>>;

// PowerSGD as in the paper, one rank a matrix, without a thought for speed. Q: columns x rank.
struct plain {
  std::size_t a, b, r;
  std::vector<matrix> residual;
  matrix q;

  matrix step(std::vector<matrix> m) {
    const std::size_t ranks = m.size();
    matrix p(a, std::vector<double>(r));
    for (std::size_t w = 0; w < ranks; ++w)
      for (std::size_t i = 0; i < a; ++i)
        for (std::size_t j = 0; j < b; ++j) {
          m[w][i][j] += residual[w][i][j];
          for (std::size_t k = 0; k < r; ++k) p[i][k] += m[w][i][j] * q[j][k];
        }
    for (std::size_t k = 0; k < r; ++k) {
      for (std::size_t l = 0; l < k; ++l) {
        double along = 0;
        for (std::size_t i = 0; i < a; ++i) along += p[i][k] * p[i][l];
        for (std::size_t i = 0; i < a; ++i) p[i][k] -= along * p[i][l];
      }
      double length = 0;
      for (std::size_t i = 0; i < a; ++i) length += p[i][k] * p[i][k];
      for (std::size_t i = 0; i < a; ++i) p[i][k] /= std::sqrt(length);
    }
    q.assign(b, std::vector<double>(r));
    for (std::size_t w = 0; w < ranks; ++w)
      for (std::size_t i = 0; i < a; ++i)
        for (std::size_t j = 0; j < b; ++j)
          for (std::size_t k = 0; k < r; ++k) q[j][k] += m[w][i][j] * p[i][k];
    matrix decoded(a, std::vector<double>(b));
    for (std::size_t i = 0; i < a; ++i)
      for (std::size_t j = 0; j < b; ++j) {
        for (std::size_t k = 0; k < r; ++k) decoded[i][j] += p[i][k] * q[j][k];
        for (std::size_t w = 0; w < ranks; ++w) residual[w][i][j] = m[w][i][j] - decoded[i][j] / double(ranks);
      }
    return decoded;
  }
};

// One step of some ranks, by hand. The gradients become the decoded sum.
template <class T>
void exchange(const compress::power_sgd& c, const compress::block& shape, std::vector<compress::state_of<compress::power_sgd, T>>& states, std::vector<std::vector<T>>& g, std::uint64_t step = 0) {
  const compress::context where{.step = step, .block = shape.index, .ranks = std::uint32_t(states.size()), .rows = shape.rows, .columns = shape.columns};
  std::vector<T> summed;
  for (int r = 0; r < 2; ++r) {
    std::vector<T> sum(c.round_count<T>(shape, r)), wire(sum.size());
    for (std::size_t w = 0; w < states.size(); ++w) {
      c.round(states[w], where, r, std::span<T>(g[w]), std::span<const T>(summed), std::span<T>(wire));
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += wire[i];
    }
    summed = sum;
  }
  for (std::size_t w = 0; w < states.size(); ++w) c.finish(states[w], where, std::span<const T>(summed), std::span<T>(g[w]));
}

template <class T>
std::vector<T> random_values(std::size_t n, std::uint32_t stream) {
  const random_stream random(3, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}

}  // namespace

TEST_CASE("PowerSGD equals the plain form over 20 steps of 3 ranks, and loses nothing", "[compress]") {
  const compress::power_sgd c{.rank = 2};
  const std::size_t a = 17, b = 11;
  const compress::block shape(a, b);
  std::vector<compress::state_of<compress::power_sgd, double>> states;
  for (int w = 0; w < 3; ++w) states.push_back(c.make_state<double>(shape));
  plain truth{a, b, 2, std::vector<matrix>(3, matrix(a, std::vector<double>(b))), matrix(b, std::vector<double>(2))};
  for (std::size_t j = 0; j < b; ++j)
    for (std::size_t k = 0; k < 2; ++k) truth.q[j][k] = states[0].q[k * b + j];
  std::vector<double> given(a * b), sent(a * b);
  for (std::uint32_t step = 0; step < 20; ++step) {
    std::vector<std::vector<double>> g;
    std::vector<matrix> m;
    for (std::uint32_t w = 0; w < 3; ++w) {
      g.push_back(random_values<double>(a * b, 100 * step + w));
      m.emplace_back(a, std::vector<double>(b));
      for (std::size_t i = 0; i < a * b; ++i) m[w][i / b][i % b] = g[w][i], given[i] += g[w][i];
    }
    exchange<double>(c, shape, states, g, step);
    const auto expected = truth.step(m);
    for (std::size_t i = 0; i < a * b; ++i) {
      REQUIRE(g[0][i] == Approx(expected[i / b][i % b]).epsilon(1e-9).margin(1e-9));
      REQUIRE(g[1][i] == g[0][i]);
      REQUIRE(g[2][i] == g[0][i]);
      sent[i] += g[0][i];
    }
    for (std::size_t i = 0; i < a * b; ++i) REQUIRE(std::abs(sent[i] + states[0].residual[i] + states[1].residual[i] + states[2].residual[i] - given[i]) < 1e-12 * 20);
  }
}

TEST_CASE("on a matrix that stays, the warm start approaches the best approximation at the stated rate", "[compress]") {
  // M = u v^T * 4 + x y^T * 1, orthonormal: rank one leaves an error of 1 at best; error^2 - 1 falls by (1/4)^4 a step.
  const std::size_t n = 32;
  std::vector<double> m(n * n);
  const auto basis = [&](std::size_t k, std::size_t i) { return std::sqrt(2.0 / n) * std::cos(3.141592653589793 * (double(i) + 0.5) * double(k) / n); };
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) m[i * n + j] = 4 * basis(1, i) * basis(2, j) + basis(3, i) * basis(4, j);
  const compress::power_sgd c{.rank = 1};
  const compress::block shape(n, n);
  std::vector<compress::state_of<compress::power_sgd, double>> states;
  states.push_back(c.make_state<double>(shape));
  std::vector<double> excess;
  for (int step = 0; step < 6; ++step) {
    std::fill(states[0].residual.begin(), states[0].residual.end(), 0.0);  // the same matrix again
    std::vector<std::vector<double>> g{m};
    exchange<double>(c, shape, states, g);
    double error = 0;
    for (std::size_t i = 0; i < n * n; ++i) error += (g[0][i] - m[i]) * (g[0][i] - m[i]);
    excess.push_back(error - 1);
  }
  CHECK(excess[3] < 1e-6);
  for (int step = 1; step < 3; ++step) CHECK(excess[std::size_t(step)] < excess[std::size_t(step - 1)] * 1.5 / 256);
}

TEST_CASE("a matrix of no more than the rank arrives whole in one step, whoever holds which part of it", "[compress]") {
  const std::size_t a = 40, b = 25, n = a * b;
  const compress::power_sgd c{.rank = 3};
  const auto left = random_values<double>(3 * a, 1), right = random_values<double>(3 * b, 2);
  std::vector<double> m(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t k = 0; k < 3; ++k) m[i] += left[k * a + i / b] * right[k * b + i % b];
  test::by_hand<double, compress::power_sgd> alone(c, compress::block(a, b), 1), three(c, compress::block(a, b), 3);
  const auto noise = random_values<double>(n, 3), more = random_values<double>(n, 4);
  std::vector<std::vector<double>> parts(3, m);  // they add up to m
  for (std::size_t i = 0; i < n; ++i) parts[0][i] = noise[i], parts[1][i] = more[i], parts[2][i] -= noise[i] + more[i];
  const auto one = alone.step({m}, 0)[0];
  const auto all = three.step(parts, 0);
  for (std::size_t i = 0; i < n; ++i) {
    REQUIRE(one[i] == Approx(m[i]).margin(1e-5));
    REQUIRE(all[0][i] == Approx(one[i]).margin(1e-9));
    REQUIRE(all[1][i] == all[0][i]);
    REQUIRE(all[2][i] == all[0][i]);
  }
  for (std::size_t i = 0; i < 3 * b; ++i) REQUIRE((three.states[0].q[i] == three.states[1].q[i] && three.states[0].q[i] == three.states[2].q[i]));
}

TEST_CASE("what factors do not shrink travels whole", "[compress]") {
  const compress::power_sgd c{.rank = 4, .minimum_gain = 2};
  CHECK(c.round_count<float>(compress::block(100, 50), 0) == 400);
  CHECK(c.round_count<float>(compress::block(100, 50), 1) == 200);
  CHECK(c.round_count<float>(compress::block(8, 8), 0) == 64);  // 4 (8 + 8) is not half of it
  CHECK(c.round_count<float>(compress::block(8, 8), 1) == 0);
  CHECK(c.round_count<float>(compress::block(1000), 0) == 1000);
  CHECK(c.round_count<float>(compress::block(0), 0) == 0);
  CHECK(c.rank_for(compress::block(2, 1000)) == 0);  // rank 2 is the whole matrix
  std::vector<compress::state_of<compress::power_sgd, float>> states;
  for (int w = 0; w < 2; ++w) states.push_back(c.make_state<float>(compress::block(5)));
  std::vector<std::vector<float>> g{{1, 2, 3, 4, 5}, {10, 20, 30, 40, 50}};
  exchange<float>(c, compress::block(5), states, g);
  CHECK(g[0] == std::vector<float>{11, 22, 33, 44, 55});
  CHECK(g[1] == g[0]);
}

TEST_CASE("matrices of zeros and of low rank give finite numbers, and no direction dies", "[compress]") {
  const compress::power_sgd c{.rank = 3};
  const compress::block shape(24, 20);
  std::vector<compress::state_of<compress::power_sgd, float>> states;
  states.push_back(c.make_state<float>(shape));
  for (std::uint64_t step = 0; step < 5; ++step) {
    std::vector<std::vector<float>> g{std::vector<float>(480)};
    exchange<float>(c, shape, states, g, step);
    for (const float v : g[0]) REQUIRE(v == 0.0f);
  }
  // Rank one for some steps, then rank three: all three columns must come back.
  const auto one = random_values<float>(44, 1);
  std::vector<float> last;
  for (std::uint64_t step = 5; step < 30; ++step) {
    std::vector<float> m(480);
    for (std::size_t i = 0; i < 480; ++i) m[i] = one[i / 20] * one[24 + i % 20] + (step > 8 ? float(i / 20 == 3 && i % 20 == 4) + 2 * float(i / 20 == 5 && i % 20 == 9) : 0.0f);
    std::fill(states[0].residual.begin(), states[0].residual.end(), 0.0f);
    std::vector<std::vector<float>> g{m};
    exchange<float>(c, shape, states, g, step);
    last = m;
    if (step == 29)
      for (std::size_t i = 0; i < 480; ++i) CHECK(g[0][i] == Approx(m[i]).margin(1e-3));
  }
}

TEMPLATE_TEST_CASE("PowerSGD keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::power_sgd{.rank = 2});
  testing::check_compressor<TestType>(compress::power_sgd{.rank = 1, .minimum_gain = 1});
}
