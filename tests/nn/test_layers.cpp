// SPDX-License-Identifier: Apache-2.0

#include "batches.hpp"
#include "catch.hpp"
#include <entrain/nn/nn.hpp>
#include <entrain/testing/model_laws.hpp>

// Every layer inside a small model: numerical gradient in double precision, and the laws of models (all cuts, both halves).

using namespace entrain;

namespace {

template <class Layers>
void check(const Layers& layers, const shape& in, std::size_t outputs, testing::model_law_options options = {}) {
  const auto batch = random_rows(5, elements(in), outputs);
  auto model = nn::regressor{layers, in, outputs}.template make<double>(engine::host{});
  testing::check_gradient(model, batch);
  testing::check_model(model, batch, 1, options);
}

template <class Layer>
void check_sequence_layer(const Layer& layer) {
  check(nn::sequential{layer, nn::flatten{}, nn::linear{2}}, {6, 8}, 2);
}

}  // namespace

TEST_CASE("linear") {
  check(nn::sequential{nn::linear{7}, nn::linear{.outputs = 3, .bias = false}}, {5}, 3);
  check(nn::sequential{nn::linear{4}, nn::flatten{}, nn::linear{2}}, {3, 5}, 2);  // over the last dimension
}

TEST_CASE("activations") {
  for (const auto kind : {nn::activation_kind::relu, nn::activation_kind::gelu, nn::activation_kind::silu, nn::activation_kind::tanh})
    check(nn::sequential{nn::linear{9}, nn::activation{kind}, nn::linear{3}, nn::activation{kind}}, {5}, 3);
}

TEST_CASE("layer norm") {
  check(nn::sequential{nn::linear{6}, nn::layer_norm{}, nn::linear{3}}, {5}, 3);
  check_sequence_layer(nn::sequential{nn::linear{6}, nn::layer_norm{}});
}

TEST_CASE("batch norm") {
  check(nn::sequential{nn::linear{6}, nn::batch_norm{}, nn::linear{3}}, {5}, 3, {.samples_are_independent = false});
  check(nn::sequential{nn::convolution{.filters = 3}, nn::batch_norm{}, nn::silu, nn::flatten{}, nn::linear{2}}, {2, 6, 5}, 2,
        {.samples_are_independent = false});
}

TEST_CASE("convolution") {
  check(nn::sequential{nn::convolution{.filters = 3, .kernel = 3, .stride = 1, .padding = 1}, nn::gelu,
                       nn::convolution{.filters = 2, .kernel = 3, .stride = 2, .padding = 2}, nn::flatten{}, nn::linear{2}},
        {2, 6, 7}, 2);
}

TEST_CASE("pooling") {
  for (const auto kind : {nn::pooling_kind::maximum, nn::pooling_kind::average}) {
    check(nn::sequential{nn::convolution{.filters = 2}, nn::pooling{kind}, nn::flatten{}, nn::linear{2}}, {1, 8, 9}, 2);
    check(nn::sequential{nn::convolution{.filters = 2}, nn::pooling{kind, 3, 1}, nn::flatten{}}, {1, 6, 6},
          8);  // last layer needs its output
    check(nn::sequential{nn::convolution{.filters = 2}, nn::pooling{kind}, nn::dropout{0.5f}, nn::flatten{}, nn::linear{2}}, {1, 6, 6}, 2);
  }
}

TEST_CASE("dropout") {
  check(nn::sequential{nn::linear{6}, nn::dropout{0.4f}, nn::linear{3}, nn::dropout{0.2f}}, {5}, 3);
  check(nn::sequential{nn::dropout{0.4f}, nn::residual{nn::sequential{nn::dropout{0.3f}, nn::linear{5}, nn::dropout{0.5f}}}, nn::linear{3}},
        {5}, 3);
  check(nn::sequential{nn::linear{6}, nn::dropout{0.0f}, nn::linear{3}}, {5}, 3);
}

TEST_CASE("residual, repeat and nested chains") {
  check(nn::sequential{nn::linear{6}, nn::residual{nn::sequential{nn::linear{4}, nn::tanh_activation, nn::linear{6}}}, nn::linear{3}}, {5},
        3);
  check(nn::sequential{nn::repeat{3, nn::residual{nn::linear{5}}}, nn::linear{3}}, {5}, 3);
  check(nn::residual{nn::residual{nn::sequential{nn::repeat{2, nn::sequential{nn::linear{5}, nn::gelu}}}}}, {5}, 5);
  check(nn::sequential{nn::convolution{.filters = 2, .kernel = 3, .padding = 1}, nn::residual{nn::pooling{nn::pooling_kind::maximum, 1, 1}},
                       nn::flatten{}, nn::linear{2}},
        {1, 4, 4}, 2);
  check(nn::linear{3}, {5}, 3);
}

TEST_CASE("attention and positions on samples of a fixed length") {
  check_sequence_layer(nn::causal_self_attention{.heads = 2});
  check_sequence_layer(nn::sequential{nn::positional_embedding{}, nn::residual{nn::causal_self_attention{.heads = 4}}});
  check_sequence_layer(nn::residual{nn::sequential{nn::positional_embedding{}, nn::linear{8}}});
}

TEST_CASE("layers refuse shapes that do not fit") {
  engine::host e;
  const auto make = [&](const auto& layers, const shape& in, std::size_t outputs) {
    nn::regressor{layers, in, outputs}.template make<float>(e);
  };
  CHECK_THROWS_AS(make(nn::linear{0}, {4}, 1), usage_error);
  CHECK_THROWS_AS(make(nn::linear{3}, {4}, 2), usage_error);
  CHECK_THROWS_AS(make(nn::residual{nn::linear{3}}, {4}, 3), usage_error);
  CHECK_THROWS_AS(make(nn::convolution{.filters = 2, .kernel = 5}, {1, 4, 4}, 2), usage_error);
  CHECK_THROWS_AS(make(nn::convolution{.filters = 2}, {16}, 2), usage_error);
  CHECK_THROWS_AS(make(nn::pooling{nn::pooling_kind::maximum, 5, 1}, {1, 4, 4}, 2), usage_error);
  CHECK_THROWS_AS(make(nn::dropout{1.0f}, {4}, 4), usage_error);
  CHECK_THROWS_AS(make(nn::dropout{0.0f}, {4}, 4), usage_error);
  CHECK_THROWS_AS(make(nn::causal_self_attention{.heads = 3}, {6, 8}, 48), usage_error);
  CHECK_THROWS_AS(make(nn::causal_self_attention{.heads = 2}, {8}, 8), usage_error);
}
