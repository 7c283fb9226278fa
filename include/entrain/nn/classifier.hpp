// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/nn/heads.hpp>
#include <entrain/nn/inputs.hpp>
#include <entrain/nn/network.hpp>

// Any layers as a model:
//   classifier{layers, input shape, classes}     labelled_batch, softmax cross-entropy over the last layer's outputs
//   regressor{layers, input shape, outputs}      regression_batch, half the squared error
//
//   nn::classifier model{nn::sequential{nn::linear{64}, nn::relu, nn::linear{10}}, {784}, 10};

namespace entrain::nn {

template <class Layers>
struct classifier {
  using slot_type = slot::model;
  Layers layers;
  shape input;
  std::size_t classes;
  classifier(Layers l, shape in, std::size_t n) : layers(std::move(l)), input(std::move(in)), classes(n) {}

  template <class T, class Engine>
  auto make(const Engine& engine) const {
    builder b;
    auto body = layers.template make<T>(b, input, "");
    return detail::make_network<T>(engine, std::move(b), feature_input<T, labelled_batch>(input), std::move(body),
                                   classification_head<T>(classes));
  }
  std::string describe() const {
    return "classifier{" + entrain::describe(layers) + ", " + to_string(input) + " -> " + std::to_string(classes) + "}";
  }
  friend bool operator==(const classifier&, const classifier&) = default;
};

template <class Layers>
struct regressor {
  using slot_type = slot::model;
  Layers layers;
  shape input;
  std::size_t outputs;
  regressor(Layers l, shape in, std::size_t n) : layers(std::move(l)), input(std::move(in)), outputs(n) {}

  template <class T, class Engine>
  auto make(const Engine& engine) const {
    builder b;
    auto body = layers.template make<T>(b, input, "");
    return detail::make_network<T>(engine, std::move(b), feature_input<T, regression_batch>(input), std::move(body),
                                   regression_head<T>(outputs));
  }
  std::string describe() const {
    return "regressor{" + entrain::describe(layers) + ", " + to_string(input) + " -> " + std::to_string(outputs) + "}";
  }
  friend bool operator==(const regressor&, const regressor&) = default;
};

}  // namespace entrain::nn
