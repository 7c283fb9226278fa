// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <entrain/core/loss.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/host/layer_norm.hpp>
#include <entrain/nn/host/vector_math.hpp>
#include <entrain/nn/ops.hpp>

// Softmax cross-entropy on float rows: three passes over a row that the second-level cache holds (maximum, exponentials
// with their sum, scaling), gradient in place of the logits.

namespace entrain::nn::host::detail {

inline float row_maximum(std::size_t width, const float* row) {
  constexpr std::size_t step = lane_count<float>;
  float_lanes first = splat(row[0]), second = first;
  std::size_t i = 0;
  for (; i + 2 * step <= width; i += 2 * step) {
    const float_lanes a = load(row + i), b = load(row + i + step);
    first = first < a ? a : first;
    second = second < b ? b : second;
  }
  float largest = maximum<float>(first < second ? second : first);
  for (; i < width; ++i) largest = largest < row[i] ? row[i] : largest;
  return largest;
}

// out[i] = exp(row[i] - shift), unless out is null; returns the sum. Long rows add up in parts, to keep the digits.
inline double row_exponentials(std::size_t width, const float* row, float shift, float* out) {
  constexpr std::size_t part = 4096;
  double total = 0;
  for (std::size_t begin = 0; begin < width; begin += part) {
    const float* const in = row + begin;
    float* const to = out ? out + begin : nullptr;
    total += row_sum<float>(width - begin < part ? width - begin : part, [&](std::size_t i, std::size_t n) {
      float_lanes e = exp(load_some(in + i, n) - shift);
      if (n < lane_count<float>) e *= ones<float>(n);
      if (to) store_some<float>(to + i, e, n);
      return e;
    });
  }
  return total;
}

// One row of the loss; false when it does not count.
inline bool cross_entropy_row(std::size_t classes, const float* row, std::int32_t target, float* out, double& exponentials, loss_sum& loss) {
  if (target < 0) return false;
  const float largest = row_maximum(classes, row), wanted = row[target];
  bool first = wanted == largest;
  for (std::int32_t i = 0; first && i < target; ++i) first = row[i] != largest;
  exponentials = row_exponentials(classes, row, largest, out);
  loss += loss_sum{std::log(exponentials) + double(largest) - double(wanted), 1, first ? 1 : 0};
  return true;
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

inline loss_sum forward(const engine::host&, const softmax_cross_entropy& d, const float* logits, const std::int32_t* targets) {
  loss_sum loss;
  double exponentials = 0;
  for (std::size_t r = 0; r < d.rows; ++r)
    nn::host::detail::cross_entropy_row(d.classes, logits + r * d.classes, targets[r], nullptr, exponentials, loss);
  return loss;
}

inline loss_sum forward_backward(const engine::host&, const softmax_cross_entropy& d, const float* logits, const std::int32_t* targets, float* dlogits) {
  using namespace nn::host;
  using namespace nn::host::detail;
  loss_sum loss;
  double exponentials = 0;
  for (std::size_t r = 0; r < d.rows; ++r) {
    float* const out = dlogits + r * d.classes;
    const bool counts = cross_entropy_row(d.classes, logits + r * d.classes, targets[r], out, exponentials, loss);
    const float scale = counts ? float(double(d.gradient_scale) / exponentials) : 0.0f;
    for_row<float>(d.classes, [&](std::size_t i, std::size_t n) { store_some<float>(out + i, counts ? load_some(out + i, n) * scale : splat(0.0f), n); });
    if (counts) out[targets[r]] -= d.gradient_scale;
  }
  return loss;
}

}  // namespace entrain::nn::ops
