// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/optim/concepts.hpp>

// LAMB (You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020, algorithm 2): Adam's direction,
// and for every block a step in proportion to the block's norm; for large batches.
//
//   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//   u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay x       t counts from 1
//   x -= rate * clamp(|x|, smallest_norm, largest_norm) / |u| * u                        the ratio is 1 where |x| or |u| is 0
//
// Without bias_correction the two divisors are 1. Weight decay acts on weights; biases and norm gains are left alone unless decay_vectors
// is set. All blocks take steps by their norm, as in the paper, biases and gains too unless adapt_vectors is false.
//
// Norms need whole blocks: parallel::data hands them over, parallel::sharded refuses at compile time. Norms are summed in double. Memory:
// two values a parameter. Three passes, in a block that fits the cache one: x, g, m, v are read and x, m, v written.

namespace entrain::optim {

struct lamb {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 2> fields{"first_moment", "second_moment"};
  static constexpr bool elementwise = false;

  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
  double smallest_norm = 0, largest_norm = 10;  // of parameters, as the ratio takes it
  bool bias_correction = true;
  bool decay_vectors = false;
  bool adapt_vectors = true;

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  // What a block's step is multiplied with beside the rate, from the norms of x and of u.
  double ratio(double size, double length) const { return size > 0 && length > 0 ? std::clamp(size, smallest_norm, largest_norm) / length : 1.0; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 2> state, std::size_t n) const {
    const double t = double(c.step) + 1;
    const T mean = bias_correction ? T(1 / (1 - std::pow(beta1, t))) : T(1), root = bias_correction ? T(1 / std::sqrt(1 - std::pow(beta2, t))) : T(1);
    const T decay = decay_vectors || c.kind == block_kind::weight ? T(weight_decay) : T(0), scale = T(c.gradient_scale);
    const T b1 = T(beta1), b2 = T(beta2), c1 = T(1 - beta1), c2 = T(1 - beta2), small = T(epsilon);
    T *m = state[0], *v = state[1];
    const auto direction = [&](std::size_t i) { return mean * m[i] / (std::sqrt(v[i]) * root + small) + decay * x[i]; };
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) {
      const T g = gradient[i] * scale;
      m[i] = b1 * m[i] + c1 * g;
      v[i] = b2 * v[i] + c2 * g * g;
    }
    double rate = c.learning_rate;
    if (adapt_vectors || c.kind == block_kind::weight) {
      double xx = 0, uu = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double u = double(direction(i));
        xx += double(x[i]) * double(x[i]), uu += u * u;
      }
      rate *= ratio(std::sqrt(xx), std::sqrt(uu));
    }
    const T step = T(rate);
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) x[i] -= step * direction(i);
  }

  std::string describe() const {
    return describe_members("lamb", "learning_rate", learning_rate, "beta1", beta1, "beta2", beta2, "epsilon", epsilon, "weight_decay", weight_decay,
                            "smallest_norm", smallest_norm, "largest_norm", largest_norm, "bias_correction", bias_correction);
  }
  friend bool operator==(const lamb&, const lamb&) = default;
};

}  // namespace entrain::optim
