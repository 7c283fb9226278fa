// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/host/vector_math.hpp>
#include <entrain/nn/ops.hpp>

// ReLU, GELU (tanh form), SiLU, tanh and their gradients, one pass over memory each. GELU is x * logistic(2 u) with
// u = sqrt(2/pi) (x + 0.044715 x^3), which loses no digits where 1 + tanh(u) does.

namespace entrain::nn::host::detail {

struct relu_lanes {
  static float_lanes value(float_lanes x) { return x > 0.0f ? x : splat(0.0f); }
  static float_lanes slope(float_lanes x) { return x > 0.0f ? splat(1.0f) : splat(0.0f); }
};
struct silu_lanes {
  static float_lanes value(float_lanes x) { return x * logistic(x); }
  static float_lanes slope(float_lanes x) {
    const float_lanes s = logistic(x);
    return s * (1.0f + x * (1.0f - s));
  }
};
struct tanh_lanes {
  static float_lanes value(float_lanes x) { return tanh(x); }
  static float_lanes slope(float_lanes x) {
    const float_lanes t = tanh(x);
    return (1.0f - t) * (1.0f + t);
  }
};
struct gelu_lanes {
  static constexpr float linear = 1.5957691216057308f;             // 2 sqrt(2/pi)
  static constexpr float cubic = 1.5957691216057308f * 0.044715f;
  static float_lanes value(float_lanes x) { return x * logistic(x * (linear + cubic * (x * x))); }
  static float_lanes slope(float_lanes x) {
    const float_lanes square = x * x, s = logistic(x * (linear + cubic * square));
    return s * (1.0f + x * (1.0f - s) * (linear + 3.0f * cubic * square));
  }
};

// The rest of a vector's length goes through a zero-filled vector, so every element takes the same arithmetic.
template <class Function>
void activate(std::size_t count, const float* in, float* out) {
  constexpr std::size_t step = lane_count<float>;
  std::size_t i = 0;
  for (; i + step <= count; i += step) store(out + i, Function::value(load(in + i)));
  if (i < count) store(out + i, Function::value(load(in + i, count - i)), count - i);
}
template <class Function>
void activate_backward(std::size_t count, const float* in, const float* dout, float* din) {
  constexpr std::size_t step = lane_count<float>;
  std::size_t i = 0;
  for (; i + step <= count; i += step) store(din + i, Function::slope(load(in + i)) * load(dout + i));
  if (i < count) store(din + i, Function::slope(load(in + i, count - i)) * load(dout + i, count - i), count - i);
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

inline void forward(const engine::host&, const activation& d, const float* in, float* out) {
  using namespace host::detail;
  switch (d.kind) {
    case activation_kind::relu: return activate<relu_lanes>(d.count, in, out);
    case activation_kind::gelu: return activate<gelu_lanes>(d.count, in, out);
    case activation_kind::silu: return activate<silu_lanes>(d.count, in, out);
    case activation_kind::tanh: return activate<tanh_lanes>(d.count, in, out);
  }
}

inline void backward(const engine::host&, const activation& d, const float* in, const float* dout, float* din) {
  using namespace host::detail;
  switch (d.kind) {
    case activation_kind::relu: return activate_backward<relu_lanes>(d.count, in, dout, din);
    case activation_kind::gelu: return activate_backward<gelu_lanes>(d.count, in, dout, din);
    case activation_kind::silu: return activate_backward<silu_lanes>(d.count, in, dout, din);
    case activation_kind::tanh: return activate_backward<tanh_lanes>(d.count, in, dout, din);
  }
}

}  // namespace entrain::nn::ops
