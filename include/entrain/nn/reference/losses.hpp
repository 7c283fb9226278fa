// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <entrain/core/loss.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Losses as plain loops. They return sums; nothing is divided here.

namespace entrain::nn::ops {

namespace detail {

// Adds one row to the loss; writes its gradient when `gradient` is not null (it may be the row itself).
template <class T>
void cross_entropy_row(const T* row, std::size_t classes, std::int32_t target, T* gradient, loss_sum& loss, float scale = 1) {
  if (target < 0) {
    if (gradient) std::fill_n(gradient, classes, T(0));
    return;
  }
  const std::size_t best = std::size_t(std::max_element(row, row + classes) - row);
  const double largest = double(row[best]), right = double(row[target]);
  double sum = 0;
  for (std::size_t j = 0; j < classes; ++j) sum += std::exp(double(row[j]) - largest);
  const double log_sum = largest + std::log(sum);
  loss.sum += log_sum - right;
  loss.count += 1;
  loss.correct += best == std::size_t(target);
  if (!gradient) return;
  for (std::size_t j = 0; j < classes; ++j) gradient[j] = T(double(scale) * std::exp(double(row[j]) - log_sum));
  gradient[target] -= T(scale);
}

}  // namespace detail

template <class T>
loss_sum forward(const engine::reference&, const softmax_cross_entropy& op, const T* logits, const std::int32_t* targets) {
  loss_sum loss;
  for (std::size_t r = 0; r < op.rows; ++r) detail::cross_entropy_row<T>(logits + r * op.classes, op.classes, targets[r], nullptr, loss);
  return loss;
}

template <class T>
loss_sum forward_backward(const engine::reference&, const softmax_cross_entropy& op, const T* logits, const std::int32_t* targets,
                          T* dlogits) {
  loss_sum loss;
  for (std::size_t r = 0; r < op.rows; ++r)
    detail::cross_entropy_row(logits + r * op.classes, op.classes, targets[r], dlogits + r * op.classes, loss, op.gradient_scale);
  return loss;
}

template <class T>
loss_sum forward(const engine::reference&, const squared_error& op, const T* prediction, const T* target) {
  loss_sum loss{0, std::int64_t(op.rows), 0};
  for (std::size_t i = 0; i < op.rows * op.width; ++i) {
    const double difference = double(prediction[i]) - double(target[i]);
    loss.sum += 0.5 * difference * difference;
  }
  return loss;
}

template <class T>
loss_sum forward_backward(const engine::reference& e, const squared_error& op, const T* prediction, const T* target, T* dprediction) {
  const loss_sum loss = forward(e, op, prediction, target);
  for (std::size_t i = 0; i < op.rows * op.width; ++i) dprediction[i] = T(op.gradient_scale) * (prediction[i] - target[i]);
  return loss;
}

}  // namespace entrain::nn::ops
