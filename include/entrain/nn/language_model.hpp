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

// Any layers as a model of token sequences: a token table "wte.weight" [vocabulary, width], the layers, and the table's
// transpose for the logits. The sequences of a batch are packed: layers see rows of `width` elements, one a token, and must
// give rows of the same width. The loss counts tokens.
//
//   nn::language_model model{nn::sequential{nn::positional_embedding{.context = 64}, ...}, vocabulary, width, context};

namespace entrain::nn {

template <class Layers>
struct language_model {
  using slot_type = slot::model;
  Layers layers;
  std::size_t vocabulary, width, context;
  language_model(Layers l, std::size_t tokens, std::size_t wide, std::size_t longest)
      : layers(std::move(l)), vocabulary(tokens), width(wide), context(longest) {}

  template <class T, class Engine>
  auto make(const Engine& engine) const {
    if (vocabulary == 0 || width == 0 || context == 0)
      throw usage_error("nn::language_model", "a size of zero", "vocabulary, width and context >= 1", describe());
    builder b;
    token_input<T> tokens(b, "wte.", vocabulary, width, context, initialiser::normal(0.02f));
    auto body = layers.template make<T>(b, shape{width}, "");
    tied_language_head<T> head(tokens.parameters[0], vocabulary, width);
    return detail::make_network<T>(engine, std::move(b), std::move(tokens), std::move(body), std::move(head));
  }
  std::string describe() const {
    return "language_model{" + entrain::describe(layers) + ", vocabulary " + std::to_string(vocabulary) + ", width " +
           std::to_string(width) + ", context " + std::to_string(context) + "}";
  }
  friend bool operator==(const language_model&, const language_model&) = default;
};

}  // namespace entrain::nn
