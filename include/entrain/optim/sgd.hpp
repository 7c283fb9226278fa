// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/optim/concepts.hpp>

// Stochastic gradient descent, with momentum (Polyak 1964; Nesterov's form as in Sutskever et al., ICML 2013) and
// L2 weight decay (added to the gradient, as is customary for SGD).
//
//   g += weight_decay * x;   v = momentum * v + g;   x -= rate * (nesterov ? g + momentum * v : v)
//
// Memory: one value a parameter when momentum is used, none otherwise.

namespace entrain::optim {

struct sgd {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 1> fields{"velocity"};
  static constexpr bool elementwise = true;

  double learning_rate = 0.01;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  bool decay_vectors = false;  // decay biases and norm gains too

  bool needs_field(std::size_t) const { return momentum != 0; }
  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 1> state, std::size_t n) const {
    const T rate = T(c.learning_rate), scale = T(c.gradient_scale), mu = T(momentum);
    const T decay = T(decay_vectors || c.kind == block_kind::weight ? weight_decay : 0.0);
    if (mu == T(0)) {
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) x[i] -= rate * (gradient[i] * scale + decay * x[i]);
      return;
    }
    T* v = state[0];
    const T past = nesterov ? mu : T(1), present = nesterov ? T(1) : T(0);
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) {
      const T g = gradient[i] * scale + decay * x[i];
      v[i] = mu * v[i] + g;
      x[i] -= rate * (present * g + past * v[i]);
    }
  }

  std::string describe() const {
    return describe_members("sgd", "learning_rate", learning_rate, "momentum", momentum, "nesterov", nesterov, "weight_decay", weight_decay);
  }
  friend bool operator==(const sgd&, const sgd&) = default;
};

}  // namespace entrain::optim
