// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <array>
#include <cmath>
#include <vector>

#include <entrain/compress/exact_momentum.hpp>
#include <entrain/compress/one_bit_momentum.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/two_phase.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/one_bit_adam.hpp>
#include <entrain/testing/compressor_laws.hpp>
#include <entrain/testing/optimizer_laws.hpp>

#include "exchange_by_hand.hpp"

using namespace entrain;

namespace {

using values = std::vector<double>;

template <class T>
std::vector<std::vector<T>> gradients(std::size_t n, std::size_t ranks, std::uint64_t step) {
  std::vector<std::vector<T>> g(ranks, std::vector<T>(n));
  for (std::size_t r = 0; r < ranks; ++r) {
    const random_stream random(21, purpose::user, std::uint32_t(r), step);
    for (std::size_t i = 0; i < n; ++i) g[r][i] = T(random.normal(i) + 0.3 * std::sin(double(i)));
  }
  return g;
}

double norm(const values& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

// The exchange of the paper without a thought for speed; values that `used` does not name take no part.
struct plain {
  std::vector<values> worker;
  values owner, m;

  values step(const std::vector<values>& g, std::size_t each, const std::vector<bool>& used) {
    const std::size_t n = m.size(), p = g.size();
    values sum = owner, out(n);
    const auto root_mean_square = [&](const values& x, std::size_t from, std::size_t to) {
      double squares = 0, count = 0;
      for (std::size_t i = from; i < to; ++i)
        if (used[i]) squares += x[i] * x[i], ++count;
      return count > 0 ? std::sqrt(squares / count) : 0.0;
    };
    for (std::size_t r = 0; r < p; ++r) {
      for (std::size_t i = 0; i < n; ++i) worker[r][i] += 0.9 * m[i] / double(p) + 0.1 * g[r][i];
      const double scale = root_mean_square(worker[r], 0, n);
      for (std::size_t i = 0; i < n; ++i)
        if (used[i]) {
          const double sent = worker[r][i] < 0 ? -scale : scale;
          worker[r][i] -= sent, sum[i] += sent;
        } else {
          worker[r][i] = 0;
        }
    }
    for (std::size_t from = 0; from < n; from += each) {
      const std::size_t to = std::min(n, from + each);
      const double scale = root_mean_square(sum, from, to);
      for (std::size_t i = from; i < to; ++i)
        if (used[i]) out[i] = sum[i] < 0 ? -scale : scale, owner[i] = sum[i] - out[i];
    }
    return m = out;
  }
};

}  // namespace

TEST_CASE("the momentum by one bit equals the plain form over 20 steps, and nothing is lost", "[compress]") {
  for (const std::size_t p : {1, 3, 4, 8})
    for (const std::size_t n : {1, 9, 203}) {
      CAPTURE(p, n);
      const std::uint64_t freeze = 5;
      const compress::one_bit_momentum c{.freeze_after = freeze};
      test::by_hand<double, compress::one_bit_momentum> group(c, n, p);
      plain truth{std::vector<values>(p, values(n)), values(n), values(n)};
      const std::vector<bool> all(n, true);
      values left(n);
      for (std::uint64_t step = 0; step < freeze + 20; ++step) {
        const auto g = gradients<double>(n, p, step);
        if (step < freeze) {
          const auto out = group.dense(g, step);
          for (std::size_t i = 0; i < n; ++i) truth.m[i] = 0.9 * truth.m[i] + 0.1 * out[0][i];
          continue;
        }
        const values old = truth.m, expected = truth.step(g, group.each(), all);
        const auto out = group.step(g, step);
        for (std::size_t i = 0; i < n; ++i) {
          REQUIRE(out[0][i] == Approx(expected[i]).epsilon(1e-9));
          // both residuals together changed by what did not arrive
          double now = group.states[i / group.each()].part_residual[i % group.each()], meant = 0.9 * old[i];
          for (std::size_t r = 0; r < p; ++r) now += group.states[r].residual[i], meant += 0.1 * g[r][i];
          REQUIRE(std::abs(out[0][i] + now - left[i] - meant) < 1e-12 * double(p));
          left[i] = now;
          for (std::size_t r = 0; r < p; ++r) REQUIRE(out[r][i] == out[0][i]);
          for (std::size_t r = 0; r < p; ++r) REQUIRE(group.states[r].momentum[i] == group.states[0].momentum[i]);
        }
      }
    }
}

TEST_CASE("residuals of the momentum stay bounded", "[compress]") {
  const std::size_t n = 500, p = 8;
  test::by_hand<float, compress::one_bit_momentum> group(compress::one_bit_momentum{.freeze_after = 20}, n, p);
  double early = 0, late = 0;
  for (std::uint64_t step = 0; step < 1000; ++step) {
    const auto g = gradients<float>(n, p, step);
    if (step < 20) group.dense(g, step);
    else group.step(g, step);
    double largest = 0;
    for (const auto& s : group.states) largest = std::max(largest, norm(values(s.residual.begin(), s.residual.end())));
    (step < 200 ? early : late) = std::max(step < 200 ? early : late, largest);
  }
  INFO(early << " " << late);
  CHECK(early > 0);
  CHECK(late < 1.5 * early);
}

TEST_CASE("values that never had a gradient take no part", "[compress]") {
  const std::size_t n = 400, p = 4;
  const std::uint64_t freeze = 5;
  test::by_hand<double, compress::one_bit_momentum> group(compress::one_bit_momentum{.freeze_after = freeze}, n, p);
  plain truth{std::vector<values>(p, values(n)), values(n), values(n)};
  std::vector<bool> used(n);
  for (std::size_t i = 0; i < n; ++i) used[i] = i % 10 == 3 && i < 350;  // none in the last rank's part but five
  for (std::uint64_t step = 0; step < 60; ++step) {
    auto g = gradients<double>(n, p, step);
    for (auto& one : g)
      for (std::size_t i = 0; i < n; ++i)
        if (!used[i]) one[i] = 0;
    const auto out = step < freeze ? group.dense(g, step) : group.step(g, step);
    values expected(n);
    if (step >= freeze) expected = truth.step(g, group.each(), used);
    else
      for (std::size_t i = 0; i < n; ++i) truth.m[i] = 0.9 * truth.m[i] + 0.1 * out[0][i];
    for (std::size_t i = 0; i < n && step >= freeze; ++i) {
      REQUIRE(out[0][i] == Approx(expected[i]).epsilon(1e-9));
      if (used[i]) continue;
      REQUIRE(out[0][i] == 0);
      for (const auto& s : group.states) REQUIRE(s.residual[i] == 0);
      REQUIRE(group.states[i / group.each()].part_residual[i % group.each()] == 0);
    }
  }
}

TEST_CASE("a value whose momentum has vanished is still in use", "[compress]") {
  const compress::one_bit_momentum c{.beta1 = 0.25, .freeze_after = 2000};
  test::by_hand<float, compress::one_bit_momentum> group(c, 8, 1);
  group.dense({std::vector<float>(8, 1)}, 0);
  for (std::uint64_t step = 1; step < 2000; ++step) group.dense({std::vector<float>(8, 0)}, step);
  const auto out = group.step({std::vector<float>(8, 3)}, 2000);
  for (const float v : out[0]) CHECK(v == Approx(2.25));
}

namespace {

// Logistic regression whose features' sizes spread over two decades, on 8 ranks: what of 2048 samples' mean loss is left after 600 steps
// with a cosine schedule.
struct regression {
  static constexpr std::size_t n = 64, samples = 2048, ranks = 8, batch = 8;
  static constexpr std::uint64_t steps = 600;
  values features = values(samples * n), labels = values(samples);

  regression() {
    const random_stream feature(5, purpose::user, 1), weight(5, purpose::user, 2), noise(5, purpose::user, 3);
    for (std::size_t s = 0; s < samples; ++s) {
      double y = noise.normal(s);
      for (std::size_t j = 0; j < n; ++j) {
        const double unit = feature.normal(s * n + j);
        features[s * n + j] = unit * std::pow(10.0, 2 * double(j) / (n - 1) - 1);
        y += 0.4 * unit * weight.normal(j);
      }
      labels[s] = y > 0 ? 1 : -1;
    }
  }

  double margin(const values& x, std::size_t s) const {
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) sum += features[s * n + j] * x[j];
    return labels[s] * sum;
  }
  std::vector<values> gradients_at(const values& x, std::uint64_t step) const {
    std::vector<values> g(ranks, values(n));
    for (std::size_t r = 0; r < ranks; ++r) {
      const random_stream pick(9, purpose::user, std::uint32_t(r), step);
      for (std::size_t k = 0; k < batch; ++k) {
        const std::size_t s = std::min(samples - 1, std::size_t(pick.uniform(k) * samples));
        const double slope = -labels[s] / (1 + std::exp(margin(x, s)));
        for (std::size_t j = 0; j < n; ++j) g[r][j] += slope * features[s * n + j];
      }
    }
    return g;
  }

  template <class Optimizer, class C>
  double loss(const Optimizer& optimizer, const C& c, std::uint64_t dense) const {
    values x(n), first(n), second(n);
    test::by_hand<double, C> group(c, n, ranks);
    for (std::uint64_t step = 0; step < steps; ++step) {
      const auto g = gradients_at(x, step);
      const auto out = step < dense ? group.dense(g, step) : group.step(g, step);
      const double rate = optimizer.learning_rate * 0.5 * (1 + std::cos(3.141592653589793 * double(step) / double(steps)));
      optimizer.template update<double>({step, rate, 1.0 / (ranks * batch), block_kind::weight}, x.data(), out[0].data(), {first.data(), second.data()}, n);
    }
    double sum = 0;
    for (std::size_t s = 0; s < samples; ++s) sum += std::log1p(std::exp(-margin(x, s)));
    return sum / samples;
  }
};

}  // namespace

TEST_CASE("1-bit Adam on 8 ranks ends within 1 % of Adam, signs of the gradient in Adam do not", "[compress]") {
  const regression task;
  const std::uint64_t freeze = 150;
  const optim::adamw adam{.learning_rate = 0.1, .weight_decay = 0};
  const optim::one_bit_adam ours{.learning_rate = 0.1, .freeze_after = freeze};
  const double dense = task.loss(adam, compress::one_bit_momentum{}, regression::steps);
  const double found = task.loss(ours, compress::one_bit_momentum{.freeze_after = freeze}, freeze);
  const double naive = task.loss(adam, compress::two_phase{compress::sign{}}, freeze);
  const double without_feedback = task.loss(adam, compress::two_phase{compress::sign{}, false}, freeze);
  INFO(dense << " " << found << " " << naive << " " << without_feedback);
  CHECK(found < 1.01 * dense);
  CHECK(naive > 1.02 * dense);
  CHECK(without_feedback > 1.02 * dense);
}

TEST_CASE("before it freezes, the optimizer is Adam; then its second moment stays", "[optim]") {
  const optim::one_bit_adam ours{.learning_rate = 0.1, .weight_decay = 0.01, .freeze_after = 4};
  const optim::adamw adam{.learning_rate = 0.1, .weight_decay = 0.01};
  std::vector<double> x{1, -2, 3}, y = x, g{0.5, 0, -1}, m(3), v(3), first(3), second(3);
  const auto update = [&](const auto& rule, std::uint64_t step, values& to, values& a, values& b) {
    rule.template update<double>({step, 0.1, 0.5, block_kind::weight}, to.data(), g.data(), {a.data(), b.data()}, 3);
  };
  for (std::uint64_t step = 0; step < 4; ++step) {
    update(ours, step, x, m, v), update(adam, step, y, first, second);
    for (std::size_t i = 0; i < 3; ++i) CHECK(x[i] == Approx(y[i]).epsilon(1e-14));
  }
  const values frozen = v, before = x;
  g = {1, 1, 1};  // now a momentum
  update(ours, 4, x, m, v);
  CHECK(v == frozen);
  CHECK(x[1] == Approx(before[1] * (1 - 0.001)));  // no second moment: only the decay
  const double root = std::sqrt(frozen[0] / (1 - std::pow(0.999, 4)));
  CHECK(x[0] == Approx(before[0] * (1 - 0.001) - 0.1 * 0.5 / (root + 1e-8)));
  CHECK_THROWS_AS(update(optim::one_bit_adam{.freeze_after = 0}, 0, x, m, v), usage_error);
  testing::check_optimizer<double>(optim::one_bit_adam{});
  testing::check_optimizer<float>(optim::one_bit_adam{.freeze_after = 2});
}

TEST_CASE("bytes of 1-bit Adam's two phases", "[compress]") {
  CHECK(compress::one_bit_momentum{}.part_count<float>(1024) == 4 + 128);
  CHECK(compress::one_bit_momentum{}.part_count<double>(1024) == 8 + 128);
  const auto both = compress::one_bit_momentum_of(optim::one_bit_adam{.beta1 = 0.8, .freeze_after = 7});
  CHECK(both.steps == 7);
  CHECK(both.compressor == compress::one_bit_momentum{.beta1 = 0.8, .freeze_after = 7});
}

TEMPLATE_TEST_CASE("the momentum by one bit keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::one_bit_momentum{});
  testing::check_compressor<TestType>(compress::exact_momentum{.freeze_after = 2});
  testing::check_compressor<TestType>(compress::one_bit_momentum{.freeze_after = 0});
  testing::check_compressor<TestType>(compress::one_bit_momentum{.freeze_after = 2});  // nothing ever had a gradient
}
