// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>
#include <entrain/nn/resident.hpp>

// How a network ends: predictions and targets become a sum of losses, and the gradient that the backward pass begins with.
//
// A head has `saved` elements a row for its own use, where loss_and_gradient leaves what gradient() needs. A head that owns
// or shares parameters is a unit of its own.

namespace entrain::nn {

namespace detail {

inline void check_labels(const std::vector<std::int32_t>& targets, std::size_t rows, std::size_t classes) {
  if (targets.size() < rows)
    throw usage_error("nn::network", "the batch's targets are shorter than it says", std::to_string(rows) + " targets",
                      std::to_string(targets.size()));
  for (std::size_t i = 0; i < rows; ++i)
    if (targets[i] >= 0 && std::size_t(targets[i]) >= classes)
      throw usage_error("nn::network", "target " + std::to_string(i) + " is no class of the model",
                        "0 to " + std::to_string(classes - 1) + ", or negative to leave it out", std::to_string(targets[i]));
}

}  // namespace detail

// Softmax cross-entropy over the network's outputs. A negative label is not counted.
template <class T>
class classification_head {
 public:
  static constexpr bool is_unit = false;

  explicit classification_head(std::size_t classes) : in_size(classes), saved(classes), out_size(classes) {}

  std::size_t in_size, saved, out_size;
  double cost = 0;
  std::vector<parameter> parameters;

  void check(const labelled_batch& batch) const { detail::check_labels(batch.targets, batch.samples, in_size); }
  template <class Call>
  const T* predict(const Call&, const T*, const T* in, T*) const {
    return in;
  }
  template <class Call>
  loss_sum loss(const Call& c, const T*, const T* in, const resident_batch<labelled_batch>& batch, T*) const {
    return op::do_loss(c.engine, operation(c), in, batch.targets);
  }
  template <class Call>
  loss_sum loss_and_gradient(const Call& c, const T*, const T* in, const resident_batch<labelled_batch>& batch, T* memory) const {
    return op::do_loss_and_gradient(c.engine, operation(c), in, batch.targets, memory);
  }
  template <class Call>
  loss_sum gradient_after_loss(const Call& c, const T* p, const T* in, const resident_batch<labelled_batch>& batch, T* memory) const {
    return loss_and_gradient(c, p, in, batch, memory);
  }
  template <class Call>
  const T* gradient(const Call&, const T*, const T* memory, T*) const {
    return memory;
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const T*, T*) const {}

 private:
  template <class Call>
  ops::softmax_cross_entropy operation(const Call& c) const {
    return {c.rows, in_size, c.how.loss_scale};
  }
};

// Half the squared distance to the targets.
template <class T>
class regression_head {
 public:
  static constexpr bool is_unit = false;

  explicit regression_head(std::size_t outputs)
      : in_size(outputs), saved(std::is_same_v<T, float> ? outputs : 2 * outputs), out_size(outputs) {}

  std::size_t in_size, saved, out_size;
  double cost = 0;
  std::vector<parameter> parameters;

  void check(const regression_batch& batch) const {
    if (batch.samples > 0 && batch.outputs != in_size)
      throw usage_error("nn::network", "the batch's targets do not fit the model", std::to_string(in_size) + " a sample",
                        std::to_string(batch.outputs));
    if (batch.targets.size() < batch.samples * batch.outputs)
      throw usage_error("nn::network", "the batch's targets are shorter than it says",
                        std::to_string(batch.samples * batch.outputs) + " values", std::to_string(batch.targets.size()));
  }
  template <class Call>
  const T* predict(const Call&, const T*, const T* in, T*) const {
    return in;
  }
  template <class Call>
  loss_sum loss(const Call& c, const T*, const T* in, const resident_batch<regression_batch>& batch, T* memory) const {
    return op::do_loss(c.engine, operation(c), in, targets(c, batch, memory));
  }
  template <class Call>
  loss_sum loss_and_gradient(const Call& c, const T*, const T* in, const resident_batch<regression_batch>& batch, T* memory) const {
    return op::do_loss_and_gradient(c.engine, operation(c), in, targets(c, batch, memory), memory);
  }
  template <class Call>
  loss_sum gradient_after_loss(const Call& c, const T* p, const T* in, const resident_batch<regression_batch>& batch, T* memory) const {
    return loss_and_gradient(c, p, in, batch, memory);
  }
  template <class Call>
  const T* gradient(const Call&, const T*, const T* memory, T*) const {
    return memory;
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const T*, T*) const {}

 private:
  template <class Call>
  ops::squared_error operation(const Call& c) const {
    return {c.rows, in_size, c.how.loss_scale};
  }
  template <class Call>
  const T* targets([[maybe_unused]] const Call& c, const resident_batch<regression_batch>& batch, [[maybe_unused]] T* memory) const {
    if constexpr (std::is_same_v<T, float>) return batch.targets;
    else return op::do_run(c.engine, ops::convert{c.rows * in_size}, batch.targets, memory + c.rows * in_size), memory + c.rows * in_size;
  }
};

// Logits over the vocabulary by the transpose of the token table (Press, Wolf, "Using the output embedding to improve
// language models", 2017), then softmax cross-entropy. The gradient is written over the logits.
template <class T>
class tied_language_head {
 public:
  static constexpr bool is_unit = true;

  tied_language_head(const parameter& table, std::size_t vocabulary, std::size_t width)
      : in_size(width), saved(vocabulary), out_size(vocabulary), cost(2.0 * double(vocabulary) * double(width)), parameters{table} {}

  std::size_t in_size, saved, out_size;
  double cost = 0;
  std::vector<parameter> parameters;

  void check(const token_batch& batch) const { detail::check_labels(batch.targets, batch.samples * batch.length, out_size); }
  template <class Call>
  const T* predict(const Call& c, const T* p, const T* in, T* memory) const {
    op::do_run(c.engine, ops::gemm{false, true, c.rows, out_size, in_size, in_size, in_size, out_size, 1, 0}, in, p + parameters[0].offset,
               memory);
    return memory;
  }
  template <class Call>
  loss_sum loss(const Call& c, const T* p, const T* in, const resident_batch<token_batch>& batch, T* memory) const {
    return op::do_loss(c.engine, operation(c), predict(c, p, in, memory), batch.targets);
  }
  template <class Call>
  loss_sum loss_and_gradient(const Call& c, const T* p, const T* in, const resident_batch<token_batch>& batch, T* memory) const {
    return op::do_loss_and_gradient(c.engine, operation(c), predict(c, p, in, memory), batch.targets, memory);
  }
  // The same when loss() has been called and the logits are still in memory.
  template <class Call>
  loss_sum gradient_after_loss(const Call& c, const T*, const T*, const resident_batch<token_batch>& batch, T* memory) const {
    const T* logits = memory;
    return op::do_loss_and_gradient(c.engine, operation(c), logits, batch.targets, memory);
  }
  template <class Call>
  const T* gradient(const Call& c, const T* p, const T* memory, T* store) const {
    op::do_run(c.engine, ops::gemm{false, false, c.rows, in_size, out_size, out_size, in_size, in_size, 1, 0}, memory,
               p + parameters[0].offset, store);
    return store;
  }
  template <class Call>
  void backward_parameters(const Call& c, const T* in, const T* memory, T* g) const {
    op::do_run(c.engine, ops::gemm{true, false, out_size, in_size, c.rows, out_size, in_size, in_size, 1, c.accumulate ? 1.0f : 0.0f},
               memory, in, g + parameters[0].offset);
  }

 private:
  template <class Call>
  ops::softmax_cross_entropy operation(const Call& c) const {
    return {c.rows, out_size, c.how.loss_scale};
  }
};

}  // namespace entrain::nn
