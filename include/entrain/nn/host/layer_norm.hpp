// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/host/vector.hpp>
#include <entrain/nn/ops.hpp>

// Layer norm (Ba, Kiros, Hinton, arXiv:1607.06450), vectorised along a row; mean and variance in two passes over a row
// that the first-level cache holds. The parameters' gradients run down a few columns at a time.

namespace entrain::nn::host::detail {

// Sum over i of f(i) for a whole row: f gives a vector at i, or its first `count` lanes with zeros behind.
template <class T, class F>
[[gnu::always_inline]] inline T row_sum(std::size_t width, F&& f) {
  constexpr std::size_t step = lane_count<T>;
  lanes<T> first{}, second{};
  std::size_t i = 0;
  for (; i + 2 * step <= width; i += 2 * step) {
    first += f(i, step);
    second += f(i + step, step);
  }
  for (; i < width; i += step) first += f(i, width - i < step ? width - i : step);
  return sum<T>(first + second);
}

template <class T>
[[gnu::always_inline]] inline lanes<T> load_some(const T* from, std::size_t count) {
  return count == lane_count<T> ? load(from) : load(from, count);
}
template <class T>
[[gnu::always_inline]] inline void store_some(T* to, lanes<T> value, std::size_t count) {
  if (count == lane_count<T>) store(to, value);
  else store(to, value, count);
}

template <class T, class F>
[[gnu::always_inline]] inline void for_row(std::size_t width, F&& f) {
  constexpr std::size_t step = lane_count<T>;
  std::size_t i = 0;
  for (; i + step <= width; i += step) f(i, step);
  if (i < width) f(i, width - i);
}

// 1 in the first `count` lanes, 0 behind: keeps what a tail does not have out of a sum.
template <class T>
[[gnu::always_inline]] inline lanes<T> ones(std::size_t count) {
  alignas(64) static constexpr T table[2 * 64 / sizeof(T)] = {1, 1, 1, 1, 1, 1, 1, 1, sizeof(T) == 4, sizeof(T) == 4, sizeof(T) == 4, sizeof(T) == 4,
                                                              sizeof(T) == 4, sizeof(T) == 4, sizeof(T) == 4, sizeof(T) == 4};
  return load(table + 64 / sizeof(T) - count);
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::host::detail {

template <class T>
inline void norm_row(const T* in, const T* gain, const T* bias, T* out, std::size_t width, T epsilon, T& mean, T& inverse_deviation) {
  const T middle = row_sum<T>(width, [&](std::size_t i, std::size_t n) { return load_some(in + i, n); }) / T(width);
  const T variance = row_sum<T>(width, [&](std::size_t i, std::size_t n) {
                       lanes<T> x = load_some(in + i, n) - middle;
                       if (n < lane_count<T>) x *= ones<T>(n);
                       return x * x;
                     }) / T(width);
  const T inverse = T(1) / std::sqrt(variance + epsilon);
  for_row<T>(width, [&](std::size_t i, std::size_t n) {
    store_some<T>(out + i, (load_some(in + i, n) - middle) * inverse * load_some(gain + i, n) + load_some(bias + i, n), n);
  });
  mean = middle, inverse_deviation = inverse;
}

// finish(i, gradient): what becomes of the row's gradient at i.
template <class T, class F>
inline void norm_row_backward(const T* in, const T* gain, const T* dout, std::size_t width, T middle, T inverse, F&& finish) {
  lanes<T> plain{}, projected{};
  for_row<T>(width, [&](std::size_t i, std::size_t n) {
    const lanes<T> g = load_some(gain + i, n) * load_some(dout + i, n);
    plain += g;
    projected += g * ((load_some(in + i, n) - middle) * inverse);  // g is 0 behind the tail
  });
  const T shift = sum<T>(plain) / T(width), slope = sum<T>(projected) / T(width);
  for_row<T>(width, [&](std::size_t i, std::size_t n) {
    const lanes<T> g = load_some(gain + i, n) * load_some(dout + i, n);
    finish(i, n, inverse * (g - shift - (load_some(in + i, n) - middle) * inverse * slope));
  });
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

template <class T>
void forward(const engine::host&, const layer_norm& d, const T* in, const T* gain, const T* bias, T* out, T* mean, T* inverse_deviation) {
  for (std::size_t r = 0, at = 0; r < d.rows; ++r, at += d.width) host::detail::norm_row(in + at, gain, bias, out + at, d.width, T(d.epsilon), mean[r], inverse_deviation[r]);
}

// The row is in the first-level cache when its norm begins.
template <class T>
void forward(const engine::host&, const add_layer_norm& d, const T* a, const T* b, const T* gain, const T* bias, T* sum, T* out, T* mean, T* inverse_deviation) {
  using namespace nn::host::detail;
  for (std::size_t r = 0, at = 0; r < d.rows; ++r, at += d.width) {
    for_row<T>(d.width, [&](std::size_t i, std::size_t n) { store_some<T>(sum + at + i, load_some(a + at + i, n) + load_some(b + at + i, n), n); });
    norm_row<T>(sum + at, gain, bias, out + at, d.width, T(d.epsilon), mean[r], inverse_deviation[r]);
  }
}

template <class T>
void backward_input(const engine::host&, const layer_norm& d, const T* in, const T* gain, const T* mean, const T* inverse_deviation, const T* dout, T* din) {
  using namespace nn::host::detail;
  for (std::size_t r = 0, at = 0; r < d.rows; ++r, at += d.width)
    norm_row_backward(in + at, gain, dout + at, d.width, mean[r], inverse_deviation[r], [&](std::size_t i, std::size_t n, auto dx) { store_some<T>(din + at + i, dx, n); });
}

template <class T>
void backward_input(const engine::host&, const add_layer_norm& d, const T* sum, const T* gain, const T* mean, const T* inverse_deviation, const T* dout, const T* dsum, T* din) {
  using namespace nn::host::detail;
  for (std::size_t r = 0, at = 0; r < d.rows; ++r, at += d.width)
    norm_row_backward(sum + at, gain, dout + at, d.width, mean[r], inverse_deviation[r],
                      [&](std::size_t i, std::size_t n, auto dx) { store_some<T>(din + at + i, dx + load_some(dsum + at + i, n), n); });
}

template <class T>
void backward_parameters(const engine::host&, const layer_norm& d, const T* in, const T* mean, const T* inverse_deviation, const T* dout, T* dgain, T* dbias) {
  using namespace nn::host;
  using namespace nn::host::detail;
  constexpr std::size_t step = lane_count<T>;
  const std::size_t width = d.width, whole = width / (4 * step) * (4 * step);
  const auto columns = [&]<std::size_t Vectors>(std::size_t j, std::size_t n) {
    lanes<T> gains[Vectors] = {}, biases[Vectors] = {};
    for (std::size_t r = 0; r < d.rows; ++r) {
      const T middle = mean[r], inverse = inverse_deviation[r];
      for (std::size_t v = 0; v < Vectors; ++v) {
        const lanes<T> g = load_some(dout + r * width + j + v * step, n);
        gains[v] += g * ((load_some(in + r * width + j + v * step, n) - middle) * inverse);
        biases[v] += g;
      }
    }
    for (std::size_t v = 0; v < Vectors; ++v) {
      T* const to_gain = dgain + j + v * step;
      T* const to_bias = dbias + j + v * step;
      store_some<T>(to_gain, d.accumulate ? gains[v] + load_some(to_gain, n) : gains[v], n);
      store_some<T>(to_bias, d.accumulate ? biases[v] + load_some(to_bias, n) : biases[v], n);
    }
  };
  for (std::size_t j = 0; j < whole; j += 4 * step) columns.template operator()<4>(j, step);
  for (std::size_t j = whole; j < width; j += step) columns.template operator()<1>(j, width - j < step ? width - j : step);
}

}  // namespace entrain::nn::ops
