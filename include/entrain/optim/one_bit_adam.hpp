// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/concepts.hpp>

// 1-bit Adam (Tang et al., "1-bit Adam: communication efficient large-scale training with Adam's convergence speed", ICML 2021).
// For the first `freeze_after` steps it is Adam. Then the second moment stays as it is, and what the exchange delivers is no gradient
// but the new first moment, which the compressor has averaged with one bit a value:
//
//   x -= rate * m / (sqrt(v) + epsilon)
//
// The two belong together (the trainer refuses others) and are typed once:
//
//   const optim::one_bit_adam optimizer{.learning_rate = 1e-3, .freeze_after = 200};
//   trainer run{model, world, optimizer, compress::one_bit_momentum_of(optimizer)};
//
// Freeze when |v|_1 hardly changes any more: after 15 to 25 % of the steps, not within the learning rate's warm-up. Parameters whose
// gradient was always zero until then (unused embeddings) have no v and stay where they are. Batches of equal size in every step; no
// clipping by norm, which after the freezing would clip the momentum and before it a gradient that the compressor's momentum has whole.
// freeze_after == 0 is an error (thrown by the first update).
// Memory: two values a parameter.

namespace entrain::optim {

struct one_bit_adam {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 2> fields{"first_moment", "second_moment"};
  static constexpr bool elementwise = true;
  static constexpr bool takes_momentum = true;  // once frozen: what is exchanged must then be the momentum

  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  std::uint64_t freeze_after = 100;  // steps

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  template <class T>
  void update(const update_context& c, T* x, const T* gradient, std::array<T*, 2> state, std::size_t n) const {
    if (freeze_after == 0) throw usage_error("optim::one_bit_adam", "without dense steps there is no second moment, and no parameter would move", "freeze_after of 1 or more", "0");
    if (c.step < freeze_after) return adamw{learning_rate, beta1, beta2, epsilon, weight_decay}.update(c, x, gradient, state, n);
    // v as Adam has used it last: its bias stays corrected as it was then. Where freezing comes after thousands of steps, as in the
    // paper, that is a factor of 1.
    const double keep = 1 - c.learning_rate * (c.kind == block_kind::weight ? weight_decay : 0.0);
    run<T>({T(keep), T(c.gradient_scale), T(c.learning_rate), T(1 / std::sqrt(1 - std::pow(beta2, double(freeze_after)))), T(epsilon)}, x, gradient, state[0], state[1], n);
  }

  std::string describe() const {
    return describe_members("one_bit_adam", "learning_rate", learning_rate, "beta1", beta1, "beta2", beta2, "epsilon", epsilon, "weight_decay", weight_decay, "freeze_after", freeze_after);
  }
  friend bool operator==(const one_bit_adam&, const one_bit_adam&) = default;

 private:
  template <class T>
  struct factors { T keep, scale, rate, root, epsilon; };

  // Apart and never inlined, as in adamw, so that it becomes vector arithmetic.
  template <class T>
  [[gnu::noinline]] static void run(const factors<T>& f, T* __restrict x, const T* __restrict momentum, T* __restrict m, const T* __restrict v, std::size_t n) {
    const auto [keep, scale, rate, root, epsilon] = f;
    for (std::size_t i = 0; i < n; ++i) {
      m[i] = momentum[i] * scale;
      x[i] = keep * x[i] - (v[i] > T(0) ? rate * m[i] / (std::sqrt(v[i]) * root + epsilon) : T(0));
    }
  }
};

}  // namespace entrain::optim
