// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <array>
#include <cstddef>
#include <string_view>

#include <entrain/optim/optim.hpp>
#include <entrain/testing/optimizer_laws.hpp>

// The code of docs/optimizer.md.

namespace {

//! [optimizer]
// Sign descent with momentum (Bernstein et al., "signSGD", ICML 2018): each parameter moves by the rate, in the direction
// that its averaged gradient has.
struct sign_descent {
  using slot_type = entrain::slot::optimizer;
  static constexpr std::array<std::string_view, 1> fields{"average"};
  static constexpr bool elementwise = true;

  double learning_rate = 1e-3;
  double momentum = 0.9;

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const entrain::optim::update_context& c, T* x, const T* gradient, std::array<T*, 1> state, std::size_t n) const {
    const T rate = T(c.learning_rate), scale = T(c.gradient_scale), keep = T(momentum);
    T* average = state[0];
    for (std::size_t i = 0; i < n; ++i) {
      average[i] = keep * average[i] + (T(1) - keep) * scale * gradient[i];
      x[i] -= rate * T((average[i] > T(0)) - (average[i] < T(0)));
    }
  }
};
//! [optimizer]

}  // namespace

TEST_CASE("the optimizer of the documentation keeps the laws", "[docs]") {
  //! [laws]
  entrain::testing::check_optimizer(sign_descent{});
  //! [laws]
  entrain::testing::check_optimizer<double>(sign_descent{.learning_rate = 1e-2});
}

TEST_CASE("the wrappers of the documentation compose", "[docs]") {
  using namespace entrain;
  //! [wrapped]
  namespace schedule = optim::schedule;
  const auto factor = schedule::warm_up{100} * schedule::cosine{.steps = 2000, .floor = 0.1};
  const optim::clipped rule{optim::scheduled{optim::adamw{.learning_rate = 1e-3}, factor}, 1.0};
  //! [wrapped]
  CHECK(rule.learning_rate_at(0) == Approx(1e-5));
  CHECK(rule.learning_rate_at(5000) == Approx(1e-4));
  CHECK(rule.clip_norm() == 1.0);
}
