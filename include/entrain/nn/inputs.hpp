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

// How a batch enters a network: as rows of features, or as tokens that are looked up in a table. An input that owns
// parameters is a unit of its own (`is_unit`): a pipeline may cut behind it.

namespace entrain::nn {

// Rows of a batch's inputs; float is read where it lies.
template <class T, class Batch>
class feature_input {
 public:
  using batch_type = Batch;
  static constexpr bool is_unit = false;

  explicit feature_input(shape in)
      : out_shape(std::move(in)), out_size(elements(out_shape)), store_size(std::is_same_v<T, float> ? 0 : out_size) {}

  shape out_shape;
  std::size_t out_size, store_size;
  std::vector<parameter> parameters;

  static std::size_t rows(const Batch& batch) { return batch.samples; }
  static std::size_t length(const Batch&) { return 0; }
  std::size_t rows_a_sample() const { return 1; }

  void check(const Batch& batch) const {
    if (batch.samples > 0 && batch.features != out_size)
      throw usage_error("nn::network", "the batch's samples do not fit the model", features_text(out_size), std::to_string(batch.features));
    if (batch.inputs.size() < batch.samples * batch.features)
      throw usage_error("nn::network", "the batch's inputs are shorter than it says",
                        std::to_string(batch.samples * batch.features) + " values", std::to_string(batch.inputs.size()));
  }
  template <class Call>
  const T* forward(const Call& c, const T*, const resident_batch<Batch>& batch, T* store) const {
    if constexpr (!std::is_same_v<T, float>) op::do_run(c.engine, ops::convert{c.rows * out_size}, batch.inputs, store);
    return stored(batch, store);
  }
  const T* stored([[maybe_unused]] const resident_batch<Batch>& batch, [[maybe_unused]] const T* store) const {
    if constexpr (std::is_same_v<T, float>) return batch.inputs;
    else return store;
  }
  template <class Call>
  void backward_parameters(const Call&, const resident_batch<Batch>&, const T*, T*) const {}
  template <class U>
  void initialise(U*, std::uint64_t) const {}

 private:
  std::string features_text(std::size_t features) const { return std::to_string(features) + " features a sample, " + to_string(out_shape); }
};

// Token embedding: a row of the table "<prefix>weight" [vocabulary, width] for each token. The sequences of a batch are packed: a row is a
// token.
template <class T>
class token_input {
 public:
  using batch_type = token_batch;
  static constexpr bool is_unit = true;

  token_input(builder& b, const std::string& prefix, std::size_t vocabulary, std::size_t width, std::size_t context, initialiser weights)
      : out_shape{width}, out_size(width), store_size(width), vocabulary_(vocabulary), context_(context), weights_(weights) {
    parameters = {b.add(prefix + "weight", {vocabulary, width}, block_kind::weight)};
  }

  shape out_shape;
  std::size_t out_size, store_size;
  std::vector<parameter> parameters;

  static std::size_t rows(const token_batch& batch) { return batch.samples * batch.length; }
  static std::size_t length(const token_batch& batch) { return batch.length; }
  std::size_t rows_a_sample() const { return context_; }

  void check(const token_batch& batch) const {
    if (batch.samples > 0 && (batch.length == 0 || batch.length > context_))
      throw usage_error("nn::network", "the batch's sequences do not fit the model",
                        "1 to " + std::to_string(context_) + " tokens a sample", std::to_string(batch.length));
    if (batch.inputs.size() < rows(batch))
      throw usage_error("nn::network", "the batch's inputs are shorter than it says", std::to_string(rows(batch)) + " tokens",
                        std::to_string(batch.inputs.size()));
    for (std::size_t i = 0; i < rows(batch); ++i)
      if (batch.inputs[i] < 0 || std::size_t(batch.inputs[i]) >= vocabulary_)
        throw usage_error("nn::network", "token " + std::to_string(i) + " is not in the vocabulary",
                          "0 to " + std::to_string(vocabulary_ - 1), std::to_string(batch.inputs[i]));
  }
  template <class U>
  void initialise(U* p, std::uint64_t seed) const { weights_.fill(p, parameters[0], out_size, seed); }

  template <class Call>
  const T* forward(const Call& c, const T* p, const resident_batch<token_batch>& batch, T* store) const {
    op::do_forward(c.engine, operation(c), batch.inputs, p + parameters[0].offset, store);
    return store;
  }
  const T* stored(const resident_batch<token_batch>&, const T* store) const { return store; }
  template <class Call>
  void backward_parameters(const Call& c, const resident_batch<token_batch>& batch, const T* dout, T* g) const {
    T* table = g + parameters[0].offset;
    if (!c.accumulate) op::do_zero(c.engine, table, parameters[0].count);
    op::do_backward(c.engine, operation(c), batch.inputs, dout, table);
  }

 private:
  template <class Call>
  ops::embedding operation(const Call& c) const {
    return {c.rows, out_size, vocabulary_};
  }
  std::size_t vocabulary_, context_;
  initialiser weights_;
};

}  // namespace entrain::nn
