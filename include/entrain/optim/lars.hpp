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

// LARS (You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017): every block takes steps in proportion to its own
// norm, so that no layer sets the learning rate for all; for large batches.
//
//   rate_b = learning_rate * trust * |x| / (|g| + weight_decay |x|);   v = momentum v + rate_b (g + weight_decay x);   x -= v
//
// A block without gradient is skipped; one whose parameters are all zero takes plain steps (rate_b = learning_rate). Biases and gains
// take plain momentum steps without decay, unless adapt_vectors. The form of You et al., ICLR 2020, and of JointSpar-LARS,
// x -= rate |x| / |g| g, is lars{.trust = 1, .momentum = 0, .weight_decay = 0, .adapt_vectors = true}.
//
// Norms need whole blocks: parallel::data hands them over, parallel::sharded refuses at compile time. Memory: one value a parameter
// with momentum, else none.

namespace entrain::optim {

struct lars {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 1> fields{"velocity"};
  static constexpr bool elementwise = false;

  double learning_rate = 1;
  double trust = 0.001;
  double momentum = 0.9;
  double weight_decay = 0.0005;
  bool adapt_vectors = false;  // biases and gains like weights

  bool needs_field(std::size_t) const { return momentum != 0; }
  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 1> state, std::size_t n) const {
    const bool adapts = adapt_vectors || c.kind == block_kind::weight;
    const double decay = adapts ? weight_decay : 0;
    double rate = c.learning_rate;
    if (adapts) {
      double xx = 0, gg = 0;
      for (std::size_t i = 0; i < n; ++i) xx += double(x[i]) * double(x[i]), gg += double(gradient[i]) * double(gradient[i]);
      const double size = std::sqrt(xx), slope = std::sqrt(gg) * std::abs(c.gradient_scale);
      if (!(slope > 0)) return;
      if (size > 0) rate *= trust * size / (slope + decay * size);
    }
    const T step = T(rate), scale = T(c.gradient_scale), shrink = T(decay), mu = T(momentum);
    if (momentum == 0) {
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) x[i] -= step * (gradient[i] * scale + shrink * x[i]);
      return;
    }
    T* v = state[0];
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) {
      v[i] = mu * v[i] + step * (gradient[i] * scale + shrink * x[i]);
      x[i] -= v[i];
    }
  }

  std::string describe() const {
    return describe_members("lars", "learning_rate", learning_rate, "trust", trust, "momentum", momentum, "weight_decay", weight_decay, "adapt_vectors", adapt_vectors);
  }
  friend bool operator==(const lars&, const lars&) = default;
};

}  // namespace entrain::optim
