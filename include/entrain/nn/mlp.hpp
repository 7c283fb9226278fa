// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/policy.hpp>
#include <entrain/nn/activation.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/sequential.hpp>

// A classifier of linear layers with an activation between each two: blocks "0.weight", "0.bias", "1.weight", ...
//
//   nn::mlp{.inputs = 784, .hidden = {256, 128}, .outputs = 10}

namespace entrain::nn {

struct mlp {
  using slot_type = slot::model;
  static constexpr std::string_view name = "mlp";

  std::size_t inputs = 784;
  std::vector<std::size_t> hidden = {128};
  std::size_t outputs = 10;
  activation_kind activation = activation_kind::relu;

  template <class T, class Engine>
  auto make(const Engine& engine) const {
    builder b;
    using block = chain<T, linear_layer<T>, activation_layer<T>>;
    repeated<block> blocks;
    shape at{inputs};
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      auto layer = linear{hidden[i]}.make<T>(b, std::move(at), std::to_string(i) + ".");
      at = layer.out_shape;
      blocks.parts.push_back(block(std::move(layer), activation_layer<T>(activation, at)));
    }
    blocks.out_shape = at;
    auto last = linear{outputs}.make<T>(b, std::move(at), std::to_string(hidden.size()) + ".");
    chain<T, repeated<block>, linear_layer<T>> body(std::move(blocks), std::move(last));
    return detail::make_network<T>(engine, std::move(b), feature_input<T, labelled_batch>({inputs}), std::move(body),
                                   classification_head<T>(outputs));
  }

  std::string describe() const {
    std::string sizes = std::to_string(inputs);
    for (const std::size_t width : hidden) sizes += " -> " + std::to_string(width);
    return "mlp{" + sizes + " -> " + std::to_string(outputs) + ", " + name_of(activation) + "}";
  }
  friend bool operator==(const mlp&, const mlp&) = default;
};

}  // namespace entrain::nn
