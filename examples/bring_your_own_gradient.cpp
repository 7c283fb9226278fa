// SPDX-License-Identifier: Apache-2.0
//
// A model that the library knows nothing about: here a damped oscillator whose stiffness and damping are found from noisy
// observations, with the gradient of the simulation written by hand (forward sensitivities). All that is asked of it is "here are my
// parameters, here is my loss and its gradient"; it then trains with every data-parallel policy, on any number of ranks.

#include <cmath>
#include <cstdio>
#include <span>
#include <utility>
#include <vector>

#include <entrain/entrain.hpp>

#include "arguments.hpp"

namespace en = entrain;

//! [model]
struct oscillator {  // x'' = -k x - c x', started from x0 at rest; what is observed is x at time t
  using slot_type = en::slot::model;
  using value_type = double;
  using batch_type = en::regression_batch;  // inputs (x0, t), target x(t)

  en::parameter_layout layout() const { return {{"stiffness", {1}}, {"damping", {1}}}; }

  void initialise(std::span<double> p, std::uint64_t) const { p[stiffness] = 1.0, p[damping] = 0.5; }

  en::loss_sum loss_and_gradient(std::span<const double> p, const en::regression_batch& batch, std::span<double> gradient) const {
    en::loss_sum loss;
    for (std::size_t i = 0; i < batch.samples; ++i) {
      const auto [x, x_k, x_c] = simulate(p[stiffness], p[damping], batch.inputs[2 * i], batch.inputs[2 * i + 1]);
      const double difference = x - double(batch.targets[i]);
      loss += {0.5 * difference * difference, 1};
      gradient[stiffness] += difference * x_k;  // the gradient of the sum, added to what is there
      gradient[damping] += difference * x_c;
    }
    return loss;
  }
  //! [model]

 private:
  static constexpr std::size_t stiffness = 0, damping = en::parameter_layout::alignment;  // blocks begin at multiples of this

  struct observed {
    double x, by_stiffness, by_damping;
  };

  // Position and its derivatives by both parameters, integrated together (semi-implicit Euler).
  static observed simulate(double k, double c, double x, double t) {
    double v = 0, x_k = 0, v_k = 0, x_c = 0, v_c = 0;
    constexpr double dt = 0.01;
    for (double now = 0; now < t; now += dt) {
      const double a = -k * x - c * v, a_k = -x - k * x_k - c * v_k, a_c = -v - k * x_c - c * v_c;
      v += dt * a, v_k += dt * a_k, v_c += dt * a_c;
      x += dt * v, x_k += dt * v_k, x_c += dt * v_c;
    }
    return {x, x_k, x_c};
  }
};

// Observations of an oscillator with stiffness 4 and damping 0.3.
en::data::regression_samples observe(std::size_t n) {
  const en::random_stream random(1, en::purpose::user);
  std::vector<float> inputs, targets;
  for (std::size_t i = 0; i < n; ++i) {
    const double x0 = 1 + random.uniform(2 * i), t = 3 * random.uniform(2 * i + 1), w = std::sqrt(4 - 0.15 * 0.15);
    inputs.push_back(float(x0)), inputs.push_back(float(t));
    targets.push_back(float(x0 * std::exp(-0.15 * t) * (std::cos(w * t) + 0.15 / w * std::sin(w * t)) + 0.01 * random.normal(100000 + i)));
  }
  return {std::move(inputs), std::move(targets), n};
}

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  //! [train]
  en::trainer run{oscillator{}, en::optim::adamw{.learning_rate = 0.05, .weight_decay = 0}, world, en::precision::fp64{}, en::parallel::sharded{}, en::monitor::progress{}};
  run.fit(observe(512), {.steps = steps_or(argc, argv, 300), .batch = 64});
  //! [train]
  if (world.rank() == 0)
    std::printf("stiffness %.3f (true 4), damping %.3f (true 0.3)\n", run.parameters()[0], run.parameters()[en::parameter_layout::alignment]);
}
