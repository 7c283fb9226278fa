// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <entrain/optim/optim.hpp>
#include <entrain/testing/optimizer_laws.hpp>

using namespace entrain;
namespace schedule = optim::schedule;

TEMPLATE_TEST_CASE("every optimizer keeps the laws", "[optim]", float, double) {
  testing::check_optimizer<TestType>(optim::sgd{.learning_rate = 0.1});
  testing::check_optimizer<TestType>(optim::sgd{.learning_rate = 0.05, .momentum = 0.9});
  testing::check_optimizer<TestType>(optim::sgd{.learning_rate = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4});
  testing::check_optimizer<TestType>(optim::adamw{.learning_rate = 1e-2});
  testing::check_optimizer<TestType>(optim::lars{.learning_rate = 1});
  testing::check_optimizer<TestType>(optim::lamb{.learning_rate = 1e-2});
  testing::check_optimizer<TestType>(optim::lamb{.learning_rate = 1e-2, .bias_correction = false});
  testing::check_optimizer<TestType>(optim::scheduled{optim::adamw{.learning_rate = 1e-2}, schedule::warm_up{10} * schedule::cosine{200, 0.1}});
  testing::check_optimizer<TestType>(optim::clipped{optim::sgd{.learning_rate = 0.1}, 1.0});
}

// Values of torch.optim (SGD with momentum 0.9, weight decay 0.1; AdamW with weight decay 0.1) for x = 1, gradients 0.5, -0.2,
// 0.3, rate 0.1, worked out by hand from the published recurrences.
TEST_CASE("sgd and adamw follow their recurrences", "[optim]") {
  const double g[] = {0.5, -0.2, 0.3};
  double x = 1, v = 0, y = 1, m = 0, s = 0;
  double px = 1, pv = 0, py = 1, pm = 0, ps = 0;
  const optim::sgd sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.1};
  const optim::adamw adamw{.learning_rate = 0.1, .weight_decay = 0.1};
  for (std::uint64_t t = 0; t < 3; ++t) {
    const double gt = g[t] + 0.1 * px;
    pv = 0.9 * pv + gt;
    px -= 0.1 * pv;
    sgd.update<double>({t, 0.1, 1, block_kind::weight}, &x, &g[t], {&v}, 1);
    CHECK(x == Approx(px).epsilon(1e-14));

    pm = 0.9 * pm + 0.1 * g[t];
    ps = 0.999 * ps + 0.001 * g[t] * g[t];
    py -= 0.1 * 0.1 * py;
    py -= 0.1 * (pm / (1 - std::pow(0.9, double(t + 1)))) / (std::sqrt(ps / (1 - std::pow(0.999, double(t + 1)))) + 1e-8);
    adamw.update<double>({t, 0.1, 1, block_kind::weight}, &y, &g[t], {&m, &s}, 1);
    CHECK(y == Approx(py).epsilon(1e-12));
  }
}

TEST_CASE("weight decay leaves biases and norm gains alone unless told", "[optim]") {
  float x = 1, m = 0, s = 0;
  const float zero = 0;
  optim::adamw{.learning_rate = 0.1, .weight_decay = 0.5}.update<float>({0, 0.1, 1, block_kind::vector}, &x, &zero, {&m, &s}, 1);
  CHECK(x == 1.0f);
  optim::adamw{.learning_rate = 0.1, .weight_decay = 0.5, .decay_vectors = true}.update<float>({0, 0.1, 1, block_kind::vector}, &x, &zero, {&m, &s}, 1);
  CHECK(x == Approx(0.95f));
}

// Algorithm 2 of You et al., ICLR 2020, word for word, every quantity in an array of its own.
TEST_CASE("lamb follows its recurrences", "[optim]") {
  const auto corrects = GENERATE(true, false);
  const auto kind = GENERATE(block_kind::weight, block_kind::vector);
  const double size = GENERATE(0.1, 20.0);  // norms of about 0.4, and of 90: beyond the bound
  constexpr std::size_t n = 37;
  const optim::lamb rule{.learning_rate = 0.05, .weight_decay = 0.1, .bias_correction = corrects};
  std::vector<double> x(n), m(n), v(n), pm(n), pv(n), g(n), u(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = size * std::sin(1.0 + 3.0 * double(i));
  auto px = x;
  const auto norm = [](const std::vector<double>& of) {
    double sum = 0;
    for (const double value : of) sum += value * value;
    return std::sqrt(sum);
  };
  for (std::uint64_t t = 1; t <= 20; ++t) {
    for (std::size_t i = 0; i < n; ++i) {
      g[i] = std::cos(double(t) * (1 + double(i)));
      pm[i] = 0.9 * pm[i] + 0.1 * 0.5 * g[i];
      pv[i] = 0.999 * pv[i] + 0.001 * 0.25 * g[i] * g[i];
      const double mean = corrects ? pm[i] / (1 - std::pow(0.9, double(t))) : pm[i], square = corrects ? pv[i] / (1 - std::pow(0.999, double(t))) : pv[i];
      u[i] = mean / (std::sqrt(square) + 1e-6) + (kind == block_kind::weight ? 0.1 * px[i] : 0.0);
    }
    const double ratio = std::min(norm(px), 10.0) / norm(u);
    for (std::size_t i = 0; i < n; ++i) px[i] -= 0.05 * ratio * u[i];
    rule.update<double>({t - 1, 0.05, 0.5, kind}, x.data(), g.data(), {m.data(), v.data()}, n);
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(x[i] - px[i]));
    CHECK(worst <= 1e-12 * norm(px));
  }
}

TEST_CASE("lamb where a norm is zero, and the length of its steps", "[optim]") {
  const optim::lamb rule{.learning_rate = 0.1, .weight_decay = 0};
  std::vector<double> x{3, -4}, g{0, 0}, m(2), v(2);
  rule.update<double>({0, 0.1, 1, block_kind::weight}, x.data(), g.data(), {m.data(), v.data()}, 2);
  CHECK(x == std::vector<double>{3, -4});  // no gradient, no decay: no direction
  g = {1, 2};
  rule.update<double>({1, 0.1, 1, block_kind::weight}, x.data(), g.data(), {m.data(), v.data()}, 2);
  CHECK(std::hypot(x[0] - 3, x[1] + 4) == Approx(0.1 * 5).epsilon(1e-12));
  std::vector<double> zero(2);
  m = {0, 0}, v = {0, 0};
  rule.update<double>({0, 0.1, 1, block_kind::weight}, zero.data(), g.data(), {m.data(), v.data()}, 2);
  CHECK(zero[0] == Approx(-0.1).epsilon(1e-5));  // Adam's step
  CHECK(zero[1] == Approx(-0.1).epsilon(1e-5));
  // Biases take plain Adam's steps where told.
  const optim::lamb plain{.learning_rate = 0.1, .adapt_vectors = false};
  std::vector<double> bias{30, 40};
  m = {0, 0}, v = {0, 0};
  plain.update<double>({0, 0.1, 1, block_kind::vector}, bias.data(), g.data(), {m.data(), v.data()}, 2);
  CHECK(bias[0] == Approx(29.9).epsilon(1e-6));
}

TEST_CASE("schedules compose", "[optim]") {
  const auto s = schedule::warm_up{10} * schedule::cosine{100, 0.1};
  CHECK(s(0) == Approx(0.1));
  CHECK(s(9) == Approx(schedule::cosine{100, 0.1}(9)));
  CHECK(s(100) == Approx(0.1));
  CHECK(s(1000) == Approx(0.1));
  const auto t = schedule::then(schedule::constant{1}, 5, schedule::step_decay{.every = 10, .factor = 0.5});
  CHECK(t(4) == 1);
  CHECK(t(5) == 1);
  CHECK(t(15) == 0.5);
  CHECK(t(25) == 0.25);
  const optim::scheduled o{optim::sgd{.learning_rate = 2}, schedule::step_decay{.every = 1, .factor = 0.5}};
  CHECK(o.learning_rate_at(0) == 2);
  CHECK(o.learning_rate_at(3) == 0.25);
}
