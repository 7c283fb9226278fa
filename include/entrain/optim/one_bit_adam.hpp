// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/describe.hpp>
#include <entrain/optim/concepts.hpp>

// 1-bit Adam (Tang et al., "1-bit Adam: communication efficient large-scale training with Adam's convergence speed", ICML 2021).
// For the first `freeze_after` steps it is Adam. Then the second moment stays as it is, and what the exchange delivers is no gradient
// but the new first moment, which the compressor has averaged with one bit a value:
//
//   x -= rate * m / (sqrt(v) + epsilon)
//
// The two belong together and are typed once:
//
//   const optim::one_bit_adam optimizer{.learning_rate = 1e-3, .freeze_after = 200};
//   trainer run{model, world, optimizer, compress::one_bit_momentum_of(optimizer)};
//
// Freeze when |v|_1 hardly changes any more: after 15 to 25 % of the steps, not within the learning rate's warm-up. Parameters whose
// gradient was always zero until then (unused embeddings) have no v and stay where they are.
// Memory: two values a parameter.

namespace entrain::optim {

struct one_bit_adam {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 2> fields{"first_moment", "second_moment"};
  static constexpr bool elementwise = true;

  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  std::uint64_t freeze_after = 100;  // steps

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 2> state, std::size_t n) const {
    const auto [m, v] = state;
    const T scale = T(c.gradient_scale), keep = T(1 - c.learning_rate * (c.kind == block_kind::weight ? weight_decay : 0.0));
    if (c.step < freeze_after) {
      const double t = double(c.step) + 1;
      const T rate = T(c.learning_rate / (1 - std::pow(beta1, t))), root = T(1 / std::sqrt(1 - std::pow(beta2, t)));
      for (std::size_t i = 0; i < n; ++i) {
        const T g = gradient[i] * scale;
        m[i] = T(beta1) * m[i] + T(1 - beta1) * g;
        v[i] = T(beta2) * v[i] + T(1 - beta2) * g * g;
        x[i] = keep * x[i] - rate * m[i] / (std::sqrt(v[i]) * root + T(epsilon));
      }
    } else {
      // v as Adam would use it at the moment of freezing: its bias is corrected once.
      const T rate = T(c.learning_rate), root = T(freeze_after == 0 ? 1 : 1 / std::sqrt(1 - std::pow(beta2, double(freeze_after))));
      for (std::size_t i = 0; i < n; ++i) {
        m[i] = gradient[i] * scale;
        x[i] = keep * x[i] - (v[i] > T(0) ? rate * m[i] / (std::sqrt(v[i]) * root + T(epsilon)) : T(0));
      }
    }
  }

  std::string describe() const {
    return describe_members("one_bit_adam", "learning_rate", learning_rate, "beta1", beta1, "beta2", beta2, "epsilon", epsilon, "weight_decay", weight_decay, "freeze_after", freeze_after);
  }
  friend bool operator==(const one_bit_adam&, const one_bit_adam&) = default;
};

}  // namespace entrain::optim
