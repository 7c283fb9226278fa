// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <entrain/core/batch.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/nn/concepts.hpp>

// One forward and backward pass of any model: ready(block) is called as soon as a block's gradient is final. A layered model says so on
// the way; for any other all are ready at the end. how.accumulate: the gradient is added to what is there.

namespace entrain::parallel {

template <class Model, class Batch, class T, class Ready>
loss_sum backward_pass(Model& model, const parameter_layout& layout, std::span<const T> parameters, const Batch& batch, std::span<T> gradient, const nn::pass& how, Ready&& ready) {
  if constexpr (nn::layered<Model>) {
    return model.loss_and_gradient(parameters, batch, gradient, how, ready);
  } else {
    if (!how.accumulate) std::fill(gradient.begin(), gradient.end(), T(0));
    const loss_sum result = model.loss_and_gradient(parameters, batch, gradient);
    for (std::size_t i = layout.blocks().size(); i-- > 0;) ready(i);
    return result;
  }
}

// This rank's loss without training. `gradient` is overwritten where the model computes both together.
template <class Model, class Batch, class T>
loss_sum loss_only(Model& model, std::span<const T> parameters, const Batch& batch, std::span<T> gradient) {
  if constexpr (requires { model.loss(parameters, batch); }) {
    return model.loss(parameters, batch);
  } else {
    std::fill(gradient.begin(), gradient.end(), T(0));
    return model.loss_and_gradient(parameters, batch, gradient);
  }
}

}  // namespace entrain::parallel
