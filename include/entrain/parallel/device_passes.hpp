// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/core/batch.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/nn/pass.hpp>
#include <entrain/parallel/captured_passes.hpp>

// The forward and backward passes of one rank's step on an engine whose memory the host cannot read: one a micro-batch, each as a graph
// where the engine is asked for that (parallel/captured_passes.hpp). The host waits for the device when all of them have been given to
// it, and only until the last loss is there.
//
// An engine provides defer_losses(): while what it returns lives, operations with a loss return none; its total() gives the sum of all.

namespace entrain::parallel {

template <class Model, class Engine>
class device_passes {
  using batch_type = typename Model::batch_type;
  using T = typename Model::value_type;
  using space = typename Engine::space;

 public:
  device_passes(const Engine& engine, std::size_t micro_batches) : engine_(engine), micro_batches_(micro_batches), captured_(engine) {}

  // ready(block): as soon as the engine has been given all of the block's gradient. before_waiting(): when it has been given everything.
  template <class Ready, class Before>
  loss_sum run(Model& model, view<const T, space> parameters, const batch_type& batch, view<T, space> gradient, const nn::pass& how, Ready&& ready, Before&& before_waiting) {
    const auto losses = engine_.defer_losses();
    loss_sum total = each(batch, how, [&](const batch_type& piece, const nn::pass& its, bool last) {
      return captured_.run(model, parameters, piece, gradient, its, [&](std::size_t block) {
        if (last) ready(block);
      });
    });
    before_waiting();
    return total += losses.total();
  }

 private:
  template <class Pass>
  loss_sum each(const batch_type& batch, nn::pass how, Pass&& pass) {
    how.accumulate = false;
    if constexpr (sliceable<batch_type>) {
      if (micro_batches_ > 1) {
        loss_sum total;
        const std::size_t first = how.first_sample;
        for (std::size_t i = 0; i < micro_batches_; ++i) {
          const part piece = nth_part(batch.samples, i, micro_batches_);
          slice(batch, piece.first, piece.count, micro_batch_);
          how.first_sample = first + piece.first, how.accumulate = i > 0;
          total += pass(micro_batch_, how, i + 1 == micro_batches_);
        }
        return total;
      }
    }
    return pass(batch, how, true);
  }

  Engine engine_;
  std::size_t micro_batches_;
  captured_passes<Model, Engine> captured_;
  batch_type micro_batch_{};
};

}  // namespace entrain::parallel
