// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/optim/concepts.hpp>

// The laws of an optimizer, for any policy: entrain::testing::check_optimizer(my_optimizer{}); throws entrain::error.
//
//   1. Descent: on the quadratic 1/2 |x|^2 the norm of x falls over 200 steps.
//   2. elementwise: updating an array in any pieces gives what updating it whole gives, to the last bit but one.
//   3. gradient_scale multiplies the gradient: scale s on g equals scale 1 on s * g (to rounding).
//   4. A rate of zero changes no parameter.
//   5. n = 0 is legal.

namespace entrain::testing {

namespace detail {

template <class T, class O>
struct optimized {
  const O& rule;
  std::vector<T> x;
  std::vector<std::vector<T>> fields;

  optimized(const O& o, std::vector<T> start) : rule(o), x(std::move(start)), fields(O::fields.size(), std::vector<T>(x.size(), T(0))) {}

  void update(optim::update_context c, const std::vector<T>& g, std::size_t begin, std::size_t end) {
    std::array<T*, O::fields.size()> state{};
    for (std::size_t f = 0; f < state.size(); ++f) state[f] = fields[f].data() + begin;
    rule.update(c, x.data() + begin, g.data() + begin, state, end - begin);
  }
};

inline void require_optimizer(bool holds, const std::string& law) {
  if (!holds) throw error("law of optimizers", law + " does not hold");
}

template <class T>
std::vector<T> optimizer_sample(std::size_t n, std::uint32_t stream) {
  const random_stream random(7, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}

}  // namespace detail

template <class T = float, class O>
  requires optim::optimizer<O, T> && optim::has_update<O, T>
void check_optimizer(const O& rule) {
  constexpr std::size_t n = 103;
  const auto start = detail::optimizer_sample<T>(n, 1), g = detail::optimizer_sample<T>(n, 2);
  const auto rate = [&](std::uint64_t step) { return double(rule.learning_rate_at(step)); };
  const auto norm = [](const std::vector<T>& x) {
    double sum = 0;
    for (const T v : x) sum += double(v) * double(v);
    return sum;
  };

  detail::optimized<T, O> descent(rule, start);
  for (std::uint64_t s = 0; s < 200; ++s) descent.update({s, rate(s), 1, block_kind::weight}, std::vector<T>(descent.x), 0, n);
  detail::require_optimizer(norm(descent.x) < norm(start), "descent on a quadratic");

  detail::optimized<T, O> whole(rule, start), scaled(rule, start), still(rule, start);
  for (std::uint64_t s = 0; s < 3; ++s) {
    whole.update({s, rate(s), 1, block_kind::weight}, g, 0, n);
    auto quarter = g;
    for (T& v : quarter) v *= T(4);
    scaled.update({s, rate(s), 0.25, block_kind::weight}, quarter, 0, n);
    still.update({s, 0, 1, block_kind::weight}, g, 0, n);
    still.update({s, 0, 1, block_kind::weight}, g, 0, 0);
  }
  detail::require_optimizer(scaled.x == whole.x, "gradient_scale multiplies the gradient");
  detail::require_optimizer(still.x == start, "a rate of zero changes nothing");

  if constexpr (O::elementwise) {
    for (const std::size_t cut : {std::size_t(1), std::size_t(16), std::size_t(50), n - 1}) {
      detail::optimized<T, O> pieces(rule, start);
      for (std::uint64_t s = 0; s < 3; ++s) {
        pieces.update({s, rate(s), 1, block_kind::weight}, g, cut, n);
        pieces.update({s, rate(s), 1, block_kind::weight}, g, 0, cut);
      }
      for (std::size_t i = 0; i < n; ++i)
        detail::require_optimizer(std::abs(double(pieces.x[i]) - double(whole.x[i])) <= 1e-6 * (1 + std::abs(double(whole.x[i]))), "elementwise: pieces equal the whole");
    }
  }
}

}  // namespace entrain::testing
