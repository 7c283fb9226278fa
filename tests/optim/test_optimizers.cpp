// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

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
