// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <cmath>

#include "catch.hpp"
#include "fixture.hpp"
#include <entrain/nn/nn.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/sgd.hpp>

// Every layer and model against PyTorch, in both precisions and on both engines. Distances are relative to the largest value
// of an array; the reference is double precision.

using namespace entrain;

namespace {

template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, double> ? 1e-11 : 4e-6;
}

template <class Values>
double distance(const Values& found, const std::vector<double>& expected) {
  double apart = 0, largest = 1e-6;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    apart = std::max(apart, std::abs(double(found[i]) - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return apart / largest;
}

template <class T>
std::vector<T> parameters_of(const fixture& f, const parameter_layout& layout) {
  std::vector<T> p(layout.size());
  for (const auto& block : layout.blocks()) {
    if (block.kind == block_kind::statistic) continue;
    const auto values = f.as<T>("parameter:" + block.name);
    REQUIRE(values.size() == block.count);
    std::copy(values.begin(), values.end(), p.begin() + std::ptrdiff_t(block.offset));
  }
  return p;
}

template <class T>
void check_gradients(const fixture& f, const parameter_layout& layout, const std::vector<T>& g, double limit) {
  for (const auto& block : layout.blocks()) {
    if (block.kind == block_kind::statistic) continue;
    INFO(block.name);
    CHECK(distance(g.data() + block.offset, f["gradient:" + block.name].values) < limit);
  }
}

// Output, input gradient and parameter gradients of one layer, whole and in two halves.
template <class T, class Engine, class Description>
void check_layer(const std::string& name, const Description& description, shape in) {
  INFO(name << " in " << (sizeof(T) == 8 ? "double" : "float") << " on " << Engine::name);
  const fixture f(name);
  nn::builder b;
  auto layer = description.template make<T>(b, in, "");
  auto layers = nn::chain<T, decltype(layer)>(std::move(layer));
  for (std::size_t i = 0; i < layers.leaf_count(); ++i) layers.visit(i, [&](auto& leaf) { leaf.bind(b.layout); });
  const auto plan = layers.plan();

  const auto x = f.as<T>("x"), dy = f.as<T>("dy");
  const std::size_t rows = x.size() / plan.in_size;
  const auto p = parameters_of<T>(f, b.layout);
  std::vector<T> y(dy.size()), saved(plan.saved * rows), stash(plan.stash * rows), scratch(plan.scratch * rows), workspace(plan.workspace),
      dx(x.size()), g(p.size(), T(5));
  const Engine engine;
  const nn::pass how;
  const nn::call<T, Engine> c{engine, how, rows, 0, false, scratch.data(), workspace.data()};
  layers.forward(c, plan, p.data(), x.data(), y.data(), saved.data());
  CHECK(distance(y, f["y"].values) < tolerance<T>());

  const nn::kept<T> kept{x.data(), y.data(), saved.data(), stash.data()};
  layers.backward(c, plan, p.data(), kept, dy.data(), dx.data(), g.data(), [](std::size_t) {});
  CHECK(distance(dx, f["dx"].values) < tolerance<T>());
  check_gradients(f, b.layout, g, tolerance<T>());

  std::fill(dx.begin(), dx.end(), T(5));
  std::fill(g.begin(), g.end(), T(5));
  layers.backward_input(c, plan, p.data(), kept, dy.data(), dx.data());
  layers.backward_parameters(c, plan, p.data(), kept, dy.data(), g.data());
  CHECK(distance(dx, f["dx"].values) < tolerance<T>());
  check_gradients(f, b.layout, g, tolerance<T>());
}

template <class T, class Engine>
void check_layers() {
  check_layer<T, Engine>("linear", nn::linear{3}, {5});
  check_layer<T, Engine>("convolution", nn::convolution{.filters = 4, .kernel = 3, .stride = 2, .padding = 1}, {2, 6, 7});
  check_layer<T, Engine>("maximum_pooling", nn::pooling{}, {2, 6, 7});
  check_layer<T, Engine>("average_pooling", nn::pooling{nn::pooling_kind::average, 3, 1}, {2, 5, 5});
  check_layer<T, Engine>("layer_norm", nn::layer_norm{}, {6});
  check_layer<T, Engine>("batch_norm", nn::batch_norm{}, {3, 2, 5});
  check_layer<T, Engine>("relu", nn::relu, {9});
  check_layer<T, Engine>("gelu", nn::gelu, {9});
  check_layer<T, Engine>("silu", nn::silu, {9});
  check_layer<T, Engine>("tanh", nn::tanh_activation, {9});
  check_layer<T, Engine>("positional_embedding", nn::positional_embedding{}, {4, 6});
  check_layer<T, Engine>("attention", nn::causal_self_attention{.heads = 2}, {7, 8});
}

void fill(const fixture& f, labelled_batch& batch) {
  const auto& dims = f["inputs"].dims;
  batch.resize(dims[0], elements({dims.begin() + 1, dims.end()}));
  batch.inputs = f.as<float>("inputs");
  batch.targets = f.as<std::int32_t>("targets");
}
void fill(const fixture& f, token_batch& batch) {
  batch.resize(f["inputs"].dims[0], f["inputs"].dims[1]);
  batch.inputs = f.as<std::int32_t>("inputs");
  batch.targets = f.as<std::int32_t>("targets");
}

// Ten steps on one batch.
template <class Model, class Optimizer>
std::vector<double> train(Model& model, const fixture& f, const typename Model::batch_type& batch, const Optimizer& rule) {
  using T = typename Model::value_type;
  const auto& layout = model.layout();
  auto p = parameters_of<T>(f, layout);
  std::vector<T> g(p.size());
  std::array<std::vector<T>, Optimizer::fields.size()> fields;
  for (auto& field : fields) field.resize(p.size());
  std::vector<double> losses;
  for (std::uint64_t step = 0; step < 10; ++step) {
    nn::pass how;
    how.step = step;
    how.accumulate = false;
    const auto loss = model.loss_and_gradient(p, batch, g, how, [](std::size_t) {});
    losses.push_back(loss.mean());
    for (const auto& block : layout.blocks()) {
      std::array<T*, Optimizer::fields.size()> state{};
      for (std::size_t i = 0; i < state.size(); ++i) state[i] = fields[i].data() + block.offset;
      rule.update({step, rule.learning_rate_at(step), 1.0 / double(loss.count), block.kind}, p.data() + block.offset,
                  g.data() + block.offset, state, block.count);
    }
  }
  return losses;
}

template <class T, class Engine, class Description>
void check_model(const std::string& name, const Description& description) {
  INFO(name << " in " << (sizeof(T) == 8 ? "double" : "float") << " on " << Engine::name);
  const fixture f(name);
  auto model = description.template make<T>(Engine{});
  typename decltype(model)::batch_type batch;
  fill(f, batch);
  const auto p = parameters_of<T>(f, model.layout());
  std::vector<T> g(p.size());
  model.loss_and_gradient(p, batch, g);
  check_gradients(f, model.layout(), g, 4 * tolerance<T>());
  const double limit = std::is_same_v<T, double> ? 1e-10 : 2e-5;
  CHECK(distance(train(model, f, batch, optim::sgd{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1}),
                 f["losses:sgd"].values) < limit);
  CHECK(distance(train(model, f, batch, optim::adamw{.learning_rate = 0.01, .beta2 = 0.99, .weight_decay = 0.1}),
                 f["losses:adamw"].values) < limit);
}

template <class T, class Engine>
void check_models() {
  check_model<T, Engine>("model_mlp", nn::mlp{.inputs = 6, .hidden = {5}, .outputs = 4, .activation = nn::activation_kind::tanh});
  check_model<T, Engine>("model_cnn",
                         nn::cnn{.channels = 1, .height = 8, .width = 8, .filters = {3, 4}, .kernel = 3, .hidden = 6, .classes = 4});
  check_model<T, Engine>("model_gpt", nn::gpt{.layers = 2, .heads = 2, .width = 8, .context = 6, .vocabulary = 11});
}

}  // namespace

TEST_CASE("layers equal PyTorch's in double precision") { check_layers<double, engine::host>(); }
TEST_CASE("layers equal PyTorch's in float") { check_layers<float, engine::host>(); }
TEST_CASE("the plain kernels equal PyTorch's in float") { check_layers<float, engine::reference>(); }
TEST_CASE("models train as in PyTorch in double precision") { check_models<double, engine::host>(); }
TEST_CASE("models train as in PyTorch in float") { check_models<float, engine::host>(); }
TEST_CASE("models train as in PyTorch in float on the plain kernels") { check_models<float, engine::reference>(); }
