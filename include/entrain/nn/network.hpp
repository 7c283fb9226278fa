// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <entrain/core/loss.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/nn/pass.hpp>
#include <entrain/nn/stage.hpp>

// The instance of a model: differentiable, layered and staged (nn/concepts.hpp). Made by a description's make<T>(engine),
// such as nn::mlp, nn::cnn, nn::gpt, nn::classifier, nn::regressor. It holds no parameters, only the memory of a pass; a
// network is used by one thread at a time, its description may be shared.

namespace entrain::nn {

template <class T, class Engine, class Input, class Body, class Head>
class network {
 public:
  using slot_type = slot::model;
  using value_type = T;
  using stage_type = stage<T, Engine, Input, Body, Head>;
  using parts_type = typename stage_type::parts_type;
  using batch_type = typename parts_type::batch_type;
  using space = typename Engine::space;

  network(const Engine& engine, builder&& b, Input input, Body body, Head head)
      : parts_(std::make_shared<const parts_type>(engine, std::move(b), std::move(input), std::move(body), std::move(head))),
        whole_(parts_, 0, parts_->units(), 1) {}

  const parameter_layout& layout() const { return parts_->layout; }
  const Engine& engine() const { return parts_->engine; }

  // First values, the same on every rank; what lies between the blocks becomes zero.
  void initialise(std::span<T> parameters, std::uint64_t seed) const { fill(parameters, seed); }
  // The same for parameters that are kept in more bits than this network computes with.
  template <class U>
    requires(!std::same_as<U, T>)
  void initialise(std::span<U> parameters, std::uint64_t seed) const {
    fill(parameters, seed);
  }

  loss_sum loss_and_gradient(view<const T, space> parameters, const batch_type& batch, view<T, space> gradient) {
    return loss_and_gradient(parameters, batch, gradient, pass{}, [](std::size_t) {});
  }
  // The batch goes to the engine; the next pass of the same batch is then given pass.sent. Errors in the batch are thrown here.
  sent_batch send(const batch_type& batch) { return whole_.send(batch, 0); }

  template <class Ready>
  loss_sum loss_and_gradient(view<const T, space> parameters, const batch_type& batch, view<T, space> gradient, const pass& how,
                             Ready&& ready) {
    const loss_sum loss = whole_.forward(parameters, batch, {}, {}, 0, how);
    whole_.backward(parameters, batch, {}, {}, gradient, 0, how, ready);
    return loss;
  }

  // Evaluation: dropout does nothing, batch norm uses its running values; `correct` counts right classes or tokens.
  loss_sum loss(view<const T, space> parameters, const batch_type& batch) {
    return whole_.forward(parameters, batch, {}, {}, 0, evaluation());
  }
  // One row of outputs a sample (classes, values) or token (logits over the vocabulary); valid till the next call. Needs no targets.
  view<const T, space> predict(view<const T, space> parameters, const batch_type& batch) {
    return whole_.predict(parameters, batch, 0, evaluation());
  }
  std::size_t outputs() const { return parts_->head.out_size; }
  // Rows that one sample may have: 1, or the context of a sequence model.
  std::size_t rows_a_sample() const { return parts_->input.rows_a_sample(); }

  std::size_t units() const { return parts_->units(); }
  std::vector<std::size_t> unit_blocks(std::size_t u) const { return parts_->blocks(u); }
  // Floating-point operations of the forward pass of one sample; the backward pass takes twice that.
  double unit_cost(std::size_t u) const { return parts_->cost(u); }
  stage_type make_stage(std::size_t first, std::size_t last, std::size_t slots) const { return stage_type(parts_, first, last, slots); }

 private:
  template <class U>
  void fill(std::span<U> parameters, std::uint64_t seed) const {
    if (parameters.size() < layout().size())
      throw usage_error("nn::network", "the parameter arena is too short", std::to_string(layout().size()) + " elements",
                        std::to_string(parameters.size()));
    std::fill(parameters.begin(), parameters.end(), U(0));
    parts_->input.initialise(parameters.data(), seed);
    for (const std::size_t leaf : parts_->leaves)
      parts_->body.visit(leaf, [&](const auto& layer) { layer.initialise(parameters.data(), seed); });
  }
  static pass evaluation() {
    pass how;
    how.training = false;
    return how;
  }
  std::shared_ptr<const parts_type> parts_;
  stage_type whole_;
};

namespace detail {

// A network of any layer between an input and a head.
template <class T, class Engine, class Input, class Layer, class Head>
auto make_network(const Engine& engine, builder&& b, Input input, Layer layer, Head head) {
  if constexpr (is_chain<Layer>)
    return network<T, Engine, Input, Layer, Head>(engine, std::move(b), std::move(input), std::move(layer), std::move(head));
  else {
    using body = chain<T, Layer>;
    return network<T, Engine, Input, body, Head>(engine, std::move(b), std::move(input), body(std::move(layer)), std::move(head));
  }
}

}  // namespace detail

}  // namespace entrain::nn
