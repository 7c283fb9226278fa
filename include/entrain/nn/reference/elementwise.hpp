// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Activations, dropout and embedding as plain loops.
//   GELU: Hendrycks, Gimpel, "Gaussian error linear units", 2016 (tanh form). SiLU: Elfwing, Uchibe, Doya, 2017.
//   Dropout: Srivastava et al., JMLR 2014 (inverted: kept elements are scaled up in training, evaluation does nothing).

namespace entrain::nn::ops {

template <class A, class B>
void run(const engine::reference&, const convert& op, const A* in, B* out) {
  for (std::size_t i = 0; i < op.count; ++i) out[i] = B(in[i]);
}

namespace detail {

template <class T>
inline constexpr T gelu_scale = T(0.79788456080286535588L);  // sqrt(2 / pi)
template <class T>
inline constexpr T gelu_cubic = T(0.044715L);

template <class T>
T activate(activation_kind kind, T x) {
  switch (kind) {
    case activation_kind::relu:
      return x > T(0) ? x : T(0);
    case activation_kind::gelu:
      return T(0.5) * x * (T(1) + std::tanh(gelu_scale<T> * (x + gelu_cubic<T> * x * x * x)));
    case activation_kind::silu:
      return x / (T(1) + std::exp(-x));
    case activation_kind::tanh:
      return std::tanh(x);
  }
  return x;
}

template <class T>
T activation_slope(activation_kind kind, T x) {
  switch (kind) {
    case activation_kind::relu:
      return x > T(0) ? T(1) : T(0);
    case activation_kind::gelu: {
      const T t = std::tanh(gelu_scale<T> * (x + gelu_cubic<T> * x * x * x));
      return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * gelu_scale<T> * (T(1) + 3 * gelu_cubic<T> * x * x);
    }
    case activation_kind::silu: {
      const T s = T(1) / (T(1) + std::exp(-x));
      return s * (T(1) + x * (T(1) - s));
    }
    case activation_kind::tanh: {
      const T t = std::tanh(x);
      return T(1) - t * t;
    }
  }
  return T(1);
}

}  // namespace detail

template <class T>
void forward(const engine::reference&, const activation& op, const T* in, T* out) {
  for (std::size_t i = 0; i < op.count; ++i) out[i] = detail::activate(op.kind, in[i]);
}

template <class T>
void backward(const engine::reference&, const activation& op, const T* in, const T* dout, T* din) {
  for (std::size_t i = 0; i < op.count; ++i) din[i] = dout[i] * detail::activation_slope(op.kind, in[i]);
}

template <class T>
void apply(const engine::reference&, const dropout& op, const T* in, T* out) {
  const T scale = T(1) / (T(1) - T(op.probability));
  for (std::size_t i = 0; i < op.count; ++i) out[i] = op.random.uniform(op.first_index + i) >= op.probability ? in[i] * scale : T(0);
}

template <class T>
void forward(const engine::reference&, const embedding& op, const std::int32_t* ids, const T* table, T* out) {
  for (std::size_t r = 0; r < op.rows; ++r)
    for (std::size_t j = 0; j < op.width; ++j) out[r * op.width + j] = table[std::size_t(ids[r]) * op.width + j];
}

template <class T>
void backward(const engine::reference&, const embedding& op, const std::int32_t* ids, const T* dout, T* dtable) {
  for (std::size_t r = 0; r < op.rows; ++r)
    for (std::size_t j = 0; j < op.width; ++j) dtable[std::size_t(ids[r]) * op.width + j] += dout[r * op.width + j];
}

}  // namespace entrain::nn::ops
