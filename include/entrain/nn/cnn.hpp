// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/policy.hpp>
#include <entrain/nn/activation.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/convolution.hpp>
#include <entrain/nn/flatten.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/pooling.hpp>
#include <entrain/nn/sequential.hpp>

// A classifier of images in the manner of LeNet (LeCun, Bottou, Bengio, Haffner, 1998): for each entry of `filters` a
// convolution that keeps the size, maximum pooling 2 x 2 and ReLU; then a hidden linear layer with ReLU and the output.
// Blocks "conv.0.weight", "conv.0.bias", ..., "fc.0.weight", "fc.0.bias", "fc.1.weight", "fc.1.bias".

namespace entrain::nn {

struct cnn {
  using slot_type = slot::model;
  static constexpr std::string_view name = "cnn";

  std::size_t channels = 1, height = 28, width = 28;
  std::vector<std::size_t> filters = {16, 32};
  std::size_t kernel = 5;
  std::size_t hidden = 128;
  std::size_t classes = 10;

  template <class T, class Engine>
  auto make(const Engine& engine) const {
    if (kernel % 2 == 0)
      throw usage_error("nn::cnn", "an even kernel cannot keep the image's size", "an odd kernel", std::to_string(kernel));
    builder b;
    using block = chain<T, convolution_layer<T>, pooling_layer<T>, activation_layer<T>>;
    repeated<block> blocks;
    shape at{channels, height, width};
    for (std::size_t i = 0; i < filters.size(); ++i) {
      auto convolve = convolution{.filters = filters[i], .kernel = kernel, .stride = 1, .padding = kernel / 2}.make<T>(
          b, std::move(at), "conv." + std::to_string(i) + ".");
      auto pool = pooling{}.make<T>(b, convolve.out_shape, "");
      at = pool.out_shape;
      blocks.parts.push_back(block(std::move(convolve), std::move(pool), activation_layer<T>(activation_kind::relu, at)));
    }
    blocks.out_shape = at;
    auto rest = sequential{flatten{}, named{"fc.0", linear{hidden}}, relu, named{"fc.1", linear{classes}}}.make<T>(b, std::move(at), "");
    chain<T, repeated<block>, decltype(rest)> body(std::move(blocks), std::move(rest));
    return detail::make_network<T>(engine, std::move(b), feature_input<T, labelled_batch>({channels, height, width}), std::move(body),
                                   classification_head<T>(classes));
  }

  std::string describe() const {
    std::string layers;
    for (const std::size_t f : filters)
      layers += " -> " + std::to_string(f) + " filters " + std::to_string(kernel) + "x" + std::to_string(kernel);
    return "cnn{" + to_string({channels, height, width}) + layers + " -> " + std::to_string(hidden) + " -> " + std::to_string(classes) +
           "}";
  }
  friend bool operator==(const cnn&, const cnn&) = default;
};

}  // namespace entrain::nn
