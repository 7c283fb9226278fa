// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>

#include <entrain/nn/host/vector.hpp>

// exp, tanh and the logistic function on a vector of floats. Largest relative errors (tests/nn/test_host_ops.cpp holds them
// to it): exp 2e-7 where |x| <= 86, tanh 4e-7, logistic 4e-7 where x >= -86. Below -86.6 exp is 0, above 88.7 infinite; NaN
// stays NaN. The polynomials are minimax fits in the relative error.

namespace entrain::nn::host {

using float_lanes = lanes<float>;

// x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by a polynomial, 2^n by the exponent bits.
[[gnu::always_inline]] inline float_lanes exp(float_lanes x) {
  using integers = mask<float>;
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it leaves a rounded integer in the low bits
  const float_lanes bounded = x > 89.0f ? splat(89.0f) : x < -87.0f ? splat(-87.0f) : x;  // NaN passes
  const float_lanes shifted = bounded * 1.44269504088896341f + to_integer;
  const float_lanes n = shifted - to_integer;
  const float_lanes r = (bounded - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
  const float_lanes tail = 0.5f + r * (0.16666573286056519f + r * (0.04166686162352562f + r * (0.008363739587366581f + r * 0.0013901533093303442f)));
  const float_lanes fraction = 1.0f + (r + r * r * tail);
  // Half of 2^n, so that n = 128 still has an exponent; the other factor 2 follows.
  const integers exponent = (std::bit_cast<integers>(shifted) << 23) + (126 << 23);
  const float_lanes value = fraction * std::bit_cast<float_lanes>(exponent) * 2.0f;
  return x < -86.6f ? splat(0.0f) : value;
}

// 1 / (1 + exp(-x))
[[gnu::always_inline]] inline float_lanes logistic(float_lanes x) { return 1.0f / (1.0f + exp(-x)); }

[[gnu::always_inline]] inline float_lanes tanh(float_lanes x) {
  const float_lanes square = x * x;
  const float_lanes small = x + x * square * (-0.3333333134651184f + square * (0.13332915306091309f + square * (-0.05387398228049278f +
                                  square * (0.021111108362674713f + square * -0.006269325967878103f))));
  const float_lanes large = 1.0f - 2.0f / (1.0f + exp(x + x));  // exp is infinite or 0 far out: 1 or -1
  const float_lanes magnitude = x < 0.0f ? -x : x;
  return magnitude < 0.6f ? small : large;
}

}  // namespace entrain::nn::host
