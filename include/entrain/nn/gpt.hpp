// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/nn/activation.hpp>
#include <entrain/nn/causal_self_attention.hpp>
#include <entrain/nn/dropout.hpp>
#include <entrain/nn/language_model.hpp>
#include <entrain/nn/layer_norm.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/positional_embedding.hpp>
#include <entrain/nn/residual.hpp>
#include <entrain/nn/sequential.hpp>

// GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019): learned positions, layer norm before
// each branch, GELU (tanh), a final norm, and the token table as output weights without bias. Blocks carry the names, shapes
// and (input-major) order of the public GPT-2 files: wte.weight, wpe.weight, h.0.ln_1.weight, h.0.attn.c_attn.weight, ...
// Weights begin normal with deviation 0.02, those that end a branch with 0.02 / sqrt(2 layers).
//
//   nn::gpt{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65}
//
// Dropout, where asked for, follows the embedding and each branch; attention probabilities are not dropped. The loss
// counts tokens; a negative target is left out. Sequences may be shorter than the context.

namespace entrain::nn {

struct gpt {
  using slot_type = slot::model;
  static constexpr std::string_view name = "gpt";

  std::size_t layers = 4, heads = 4, width = 128, context = 64, vocabulary = 256;
  float dropout = 0;

  static gpt gpt2_124m() { return {12, 12, 768, 1024, 50257, 0}; }
  static gpt gpt2_355m() { return {24, 16, 1024, 1024, 50257, 0}; }
  static gpt gpt2_774m() { return {36, 20, 1280, 1024, 50257, 0}; }
  static gpt gpt2_1558m() { return {48, 25, 1600, 1024, 50257, 0}; }

 private:
  auto block() const {
    const auto weights = initialiser::normal(0.02f), last = initialiser::normal(0.02f / std::sqrt(2.0f * float(layers)));
    const auto project = [](std::size_t outputs, initialiser first) { return linear{outputs, true, first, initialiser::zeros()}; };
    return sequential{
        named{"", residual{sequential{named{"ln_1", layer_norm{}}, named{"attn", causal_self_attention{heads, context, weights, last}},
                                      nn::dropout{dropout}}}},
        named{"", residual{sequential{named{"ln_2", layer_norm{}}, named{"mlp.c_fc", project(4 * width, weights)}, gelu,
                                      named{"mlp.c_proj", project(width, last)}, nn::dropout{dropout}}}}};
  }

 public:
  template <class T, class Engine>
  auto make(const Engine& engine) const {
    check();
    return language_model{sequential{named{"wpe", positional_embedding{context}}, nn::dropout{dropout}, named{"h", repeat{layers, block()}},
                                     named{"ln_f", layer_norm{}}},
                          vocabulary, width, context}
        .template make<T>(engine);
  }

  std::string describe() const {
    return describe_members("gpt", "layers", layers, "heads", heads, "width", width, "context", context, "vocabulary", vocabulary,
                            "dropout", dropout);
  }
  friend bool operator==(const gpt&, const gpt&) = default;

 private:
  void check() const {
    if (layers == 0 || width == 0 || context == 0 || vocabulary == 0)
      throw usage_error("nn::gpt", "a size of zero", "layers, width, context and vocabulary >= 1", describe());
  }
};

}  // namespace entrain::nn
