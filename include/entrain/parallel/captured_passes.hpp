// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/pass.hpp>

// Forward and backward passes of a micro-batch, on engines that can replay what they were given (engine::cuda{.graph = true}): the first
// pass of a kind runs as always, so that all memory and plans are there; the second is captured, not run, and launched as one graph;
// later ones are that launch. A kind is what a graph cannot change: the batch's shape, whether gradients are added, the loss scale, the
// addresses. A pass with other numbers in every step (dropout's) is captured in each and put into the graph that is there. Batches are
// checked and sent before. Engines without graphs compile none of it.
//
// Blocks are reported as ready when the graph has been launched: their gradients are final when the engine has done what it was given.
// An engine provides graph, captures(), capture(graph, work), launch(graph), memory_moves() and wait() (engine/cuda.hpp); a model send(batch)
// and pass.sent (nn/network.hpp).

namespace entrain::parallel {

template <class Engine>
concept captures_passes = requires(const Engine& e, const typename Engine::graph& g) {
  { e.captures() } -> std::convertible_to<bool>;
  e.launch(g);
};

// Engines without graphs.
template <class Model, class Engine>
class captured_passes {
 public:
  explicit captured_passes(const Engine&) {}
  template <class Parameters, class Batch, class Gradient, class Ready>
  loss_sum run(Model& model, Parameters parameters, const Batch& batch, Gradient gradient, const nn::pass& how, Ready&& ready) {
    return model.loss_and_gradient(parameters, batch, gradient, how, ready);
  }
};

template <class Model, captures_passes Engine>
class captured_passes<Model, Engine> {
  using batch_type = typename Model::batch_type;
  using T = typename Model::value_type;
  using space = typename Engine::space;
  static constexpr bool can_send = requires(Model& model, const batch_type& batch) { model.send(batch); };

 public:
  static constexpr std::size_t most = 8;  // graphs that are kept: the ones used last

  // Errors: usage_error where graphs are wanted of a model that cannot send its batch by itself.
  explicit captured_passes(const Engine& engine) : engine_(engine) {
    if (engine.captures() && !can_send) throw usage_error("engine::cuda", "graph = true needs a model that sends its batch before its pass", "a model made from a description (nn::gpt, nn::mlp, ...)", "a model without send(batch)");
    kinds_.reserve(most);
  }
  captured_passes(const captured_passes&) = delete;
  ~captured_passes() {
    try {
      drop([](const kind&) { return true; });
    } catch (...) {  // a device that has failed waits for nothing
    }
  }

  template <class Ready>
  loss_sum run(Model& model, view<const T, space> parameters, const batch_type& batch, view<T, space> gradient, nn::pass how, Ready&& ready) {
    if constexpr (can_send) {
      if (engine_.captures() && how.idle.empty()) {
        const auto shape = model.send(batch);
        how.sent = true;
        const properties wanted{{shape.rows, shape.length, shape.moves, std::size_t(engine_.memory_moves())}, how.training, how.accumulate, how.loss_scale, parameters.data(), gradient.data()};
        if (kind* known = find(wanted)) return replay(*known, model, parameters, batch, gradient, how, ready);
        const loss_sum loss = model.loss_and_gradient(parameters, batch, gradient, how, ready);
        // What it moved, it moved before anything can be captured.
        if (shape.rows > 0 && std::size_t(engine_.memory_moves()) == wanted.shape[3]) remember(wanted);
        return loss;
      }
    }
    return model.loss_and_gradient(parameters, batch, gradient, how, ready);
  }

 private:
  struct properties {
    std::size_t shape[4];  // rows, length, moves of the model's memory and of the engine's
    bool training, accumulate;
    float loss_scale;
    const void *parameters, *gradient;
    friend bool operator==(const properties&, const properties&) = default;
  };
  struct kind {
    properties of;
    std::uint64_t used = 0;
    typename Engine::graph graph{};
    bool changes = false;
    loss_sum loss{};  // what the pass returned: the rest is added up on the device
    std::vector<std::size_t> blocks{};
  };

  template <class Ready>
  loss_sum replay(kind& k, Model& model, view<const T, space> parameters, const batch_type& batch, view<T, space> gradient, const nn::pass& how, Ready&& ready) {
    if (k.graph.empty() || k.changes) {
      k.blocks.clear();
      k.changes = engine_.capture(k.graph, [&] { k.loss = model.loss_and_gradient(parameters, batch, gradient, how, [&](std::size_t block) { k.blocks.push_back(block); }); });
    }
    engine_.launch(k.graph);
    for (const std::size_t block : k.blocks) ready(block);
    return k.loss;
  }

  kind* find(const properties& wanted) {
    for (auto& k : kinds_)
      if (k.of == wanted) return k.used = ++time_, &k;
    return nullptr;
  }
  void remember(const properties& seen) {
    drop([&](const kind& k) { return k.of.shape[2] != seen.shape[2] || k.of.shape[3] != seen.shape[3]; });
    if (kinds_.size() == most) {
      const auto oldest = std::min_element(kinds_.begin(), kinds_.end(), [](const kind& a, const kind& b) { return a.used < b.used; })->used;
      drop([&](const kind& k) { return k.used == oldest; });
    }
    kinds_.push_back({seen, ++time_});
  }
  template <class Which>
  void drop(Which&& which) {
    const auto gone = std::stable_partition(kinds_.begin(), kinds_.end(), [&](const kind& k) { return !which(k); });
    if (std::any_of(gone, kinds_.end(), [](const kind& k) { return !k.graph.empty(); })) engine_.wait();  // they may be running
    kinds_.erase(gone, kinds_.end());
  }

  Engine engine_;
  std::vector<kind> kinds_;
  std::uint64_t time_ = 0;
};

}  // namespace entrain::parallel
