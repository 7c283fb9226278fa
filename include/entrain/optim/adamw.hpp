// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/optim/concepts.hpp>

// AdamW: Adam (Kingma & Ba, ICLR 2015) with decoupled weight decay (Loshchilov & Hutter, ICLR 2019, algorithm 2).
//
//   x -= rate * weight_decay * x
//   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//   x -= rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)          t counts from 1
//
// Weight decay acts on weights; biases and norm gains are left alone unless decay_vectors is set.
// Memory: two values a parameter. One pass: reads x, g, m, v and writes x, m, v (28 bytes a parameter in fp32).

namespace entrain::optim {

struct adamw {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 2> fields{"first_moment", "second_moment"};
  static constexpr bool elementwise = true;

  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  bool decay_vectors = false;

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 2> state, std::size_t n) const {
    const double t = double(c.step) + 1;
    const double decay = decay_vectors || c.kind == block_kind::weight ? weight_decay : 0.0;
    const T keep = T(1 - c.learning_rate * decay), scale = T(c.gradient_scale);
    const T rate = T(c.learning_rate / (1 - std::pow(beta1, t)));
    const T root = T(1 / std::sqrt(1 - std::pow(beta2, t)));
    run<T>({keep, scale, rate, root, T(beta1), T(beta2), T(1 - beta1), T(1 - beta2), T(epsilon)}, x, gradient, state[0], state[1], n);
  }

  std::string describe() const {
    return describe_members("adamw", "learning_rate", learning_rate, "beta1", beta1, "beta2", beta2, "epsilon", epsilon, "weight_decay", weight_decay);
  }
  friend bool operator==(const adamw&, const adamw&) = default;

 private:
  template <class T>
  struct factors { T keep, scale, rate, root, b1, b2, c1, c2, epsilon; };

  // Never inlined, arrays apart: so that the compiler turns the loop into vector arithmetic wherever it is called from. Its
  // square root is a vector too when the program is compiled with -fno-math-errno; then the step is as fast as memory.
  template <class T>
  [[gnu::noinline]] static void run(const factors<T>& f, T* __restrict x, const T* __restrict gradient, T* __restrict m, T* __restrict v, std::size_t n) {
    const auto [keep, scale, rate, root, b1, b2, c1, c2, epsilon] = f;
    for (std::size_t i = 0; i < n; ++i) {
      const T g = gradient[i] * scale;
      m[i] = b1 * m[i] + c1 * g;
      v[i] = b2 * v[i] + c2 * g * g;
      x[i] = keep * x[i] - rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
  }
};

}  // namespace entrain::optim
