// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cmath>

#include "batches.hpp"
#include "catch.hpp"
#include <entrain/nn/nn.hpp>
#include <entrain/testing/model_laws.hpp>

using namespace entrain;

namespace {

const engine::host host;
const nn::gpt small_gpt{.layers = 2, .heads = 2, .width = 16, .context = 9, .vocabulary = 13};

template <class T, class Model>
std::vector<T> initialised(const Model& model) {
  std::vector<T> p(model.layout().size());
  model.initialise(p, 1);
  return p;
}

}  // namespace

TEST_CASE("the models keep the laws in double precision") {
  auto perceptron = nn::mlp{.inputs = 12, .hidden = {9, 7}, .outputs = 4, .activation = nn::activation_kind::tanh}.make<double>(host);
  testing::check_gradient(perceptron, random_images(5, 12, 4));
  testing::check_model(perceptron, random_images(5, 12, 4));

  auto linear = nn::mlp{.inputs = 12, .hidden = {}, .outputs = 4}.make<double>(host);
  testing::check_gradient(linear, random_images(5, 12, 4));

  auto images =
      nn::cnn{.channels = 2, .height = 9, .width = 8, .filters = {3, 4}, .kernel = 3, .hidden = 6, .classes = 4}.make<double>(host);
  testing::check_gradient(images, random_images(4, 144, 4));
  testing::check_model(images, random_images(4, 144, 4));

  auto language = small_gpt.make<double>(host);
  testing::check_gradient(language, random_tokens(3, 9, 13));
  testing::check_model(language, random_tokens(3, 9, 13));
  testing::check_gradient(language, random_tokens(4, 5, 13));  // shorter than the context
  testing::check_model(language, random_tokens(4, 5, 13));

  auto dropping = nn::gpt{.layers = 2, .heads = 2, .width = 8, .context = 6, .vocabulary = 7, .dropout = 0.2f}.make<double>(host);
  testing::check_gradient(dropping, random_tokens(3, 6, 7));
  testing::check_model(dropping, random_tokens(3, 6, 7));
}

TEST_CASE("a language model of one's own layers keeps the laws, also when the table is all it has in common with the loss") {
  const auto check = [](const auto& layers) {
    auto model = nn::language_model{layers, 7, 6, 5}.template make<double>(host);
    testing::check_gradient(model, random_tokens(3, 5, 7));
    testing::check_model(model, random_tokens(3, 4, 7));
  };
  check(nn::linear{6});
  check(nn::sequential{nn::positional_embedding{.context = 5}, nn::dropout{0.3f},
                       nn::residual{nn::sequential{nn::linear{8}, nn::silu, nn::linear{6}}}});
  check(nn::sequential{nn::causal_self_attention{.heads = 3, .context = 5}, nn::positional_embedding{.context = 5}});
}

TEST_CASE("the models keep the laws in float on both engines") {
  const auto check = [&](const auto& engine) {
    auto perceptron = nn::mlp{.inputs = 12, .hidden = {9}, .outputs = 4}.make<float>(engine);
    testing::check_model(perceptron, random_images(5, 12, 4));
    auto images = nn::cnn{.height = 12, .width = 12, .filters = {3, 4}, .kernel = 3, .hidden = 6, .classes = 4}.make<float>(engine);
    testing::check_model(images, random_images(4, 144, 4));
    auto language = nn::gpt{.layers = 2, .heads = 2, .width = 32, .context = 20, .vocabulary = 40, .dropout = 0.1f}.make<float>(engine);
    testing::check_model(language, random_tokens(4, 20, 40));
    testing::check_model(language, random_tokens(3, 7, 40));
  };
  check(engine::host{});
  check(engine::reference{});
}

TEST_CASE("both engines compute the same gradient") {
  const nn::gpt description{.layers = 2, .heads = 2, .width = 32, .context = 24, .vocabulary = 40};
  auto fast = description.make<float>(engine::host{});
  auto plain = description.make<float>(engine::reference{});
  const auto batch = random_tokens(4, 24, 40);
  const auto p = initialised<float>(fast);
  std::vector<float> a(p.size()), b(p.size());
  const auto first = fast.loss_and_gradient(p, batch, a), second = plain.loss_and_gradient(p, batch, b);
  CHECK(first.sum == Approx(second.sum).epsilon(1e-6));
  CHECK(first.correct == second.correct);
  double apart = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) apart += std::pow(double(a[i] - b[i]), 2), size += double(b[i]) * double(b[i]);
  CHECK(std::sqrt(apart / size) < 2e-6);
}

TEST_CASE("GPT-2's blocks have their public names and shapes") {
  const auto model = small_gpt.make<float>(host);
  const auto& layout = model.layout();
  CHECK(layout[0].name == "wte.weight");
  CHECK(layout[1].name == "wpe.weight");
  CHECK(layout[layout.find("h.0.attn.c_attn.weight")].dims == shape{16, 48});
  CHECK(layout[layout.find("h.1.mlp.c_fc.weight")].dims == shape{16, 64});
  CHECK(layout[layout.find("h.1.mlp.c_proj.bias")].kind == block_kind::vector);
  CHECK(layout.blocks().back().name == "ln_f.bias");
  CHECK(layout.blocks().size() == 2 + 2 * 12 + 2);
  CHECK(nn::gpt::gpt2_124m().layers == 12);

  std::vector<float> p(layout.size());
  model.initialise(p, 5);
  const auto deviation = [&](const char* name) {
    const auto& block = layout[layout.find(name)];
    double squares = 0;
    for (std::size_t i = 0; i < block.count; ++i) squares += std::pow(double(p[block.offset + i]), 2);
    return std::sqrt(squares / double(block.count));
  };
  CHECK(deviation("h.0.mlp.c_fc.weight") == Approx(0.02).epsilon(0.1));
  CHECK(deviation("h.0.mlp.c_proj.weight") == Approx(0.01).epsilon(0.1));
  CHECK(deviation("h.0.ln_1.weight") == Approx(1));
  CHECK(deviation("h.0.mlp.c_fc.bias") == 0);
}

TEST_CASE("evaluation ignores dropout and counts right predictions") {
  auto with = nn::gpt{.layers = 1, .heads = 1, .width = 8, .context = 5, .vocabulary = 7, .dropout = 0.5f}.make<double>(host);
  auto without = nn::gpt{.layers = 1, .heads = 1, .width = 8, .context = 5, .vocabulary = 7}.make<double>(host);
  auto batch = random_tokens(4, 5, 7);
  const auto p = initialised<double>(with);
  const auto a = with.loss(p, batch), b = without.loss(p, batch);
  CHECK(a.sum == Approx(b.sum));
  CHECK(a.count == 20);

  const auto logits = without.predict(p, batch);
  REQUIRE(logits.size() == 20 * 7);
  for (std::size_t r = 0; r < 20; ++r)
    batch.targets[r] = std::int32_t(std::max_element(logits.begin() + r * 7, logits.begin() + (r + 1) * 7) - (logits.begin() + r * 7));
  CHECK(without.loss(p, batch).correct == 20);
  batch.targets[3] = -1;  // left out
  CHECK(without.loss(p, batch).count == 19);
}

TEST_CASE("batch norm reports statistics in training and uses the running values in evaluation") {
  auto model = nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{2}}, {3}, 2}.make<double>(host);
  const auto batch = random_images(6, 3, 2);
  auto p = initialised<double>(model);
  std::vector<double> g(p.size());
  model.loss_and_gradient(p, batch, g);
  const auto& layout = model.layout();
  const auto& mean = layout[layout.find("0.running_mean")];
  const auto& variance = layout[layout.find("0.running_var")];
  CHECK(mean.kind == block_kind::statistic);
  for (std::size_t c = 0; c < 3; ++c) {
    double m = 0, v = 0;
    for (std::size_t s = 0; s < 6; ++s) m += double(batch.inputs[3 * s + c]) / 6;
    for (std::size_t s = 0; s < 6; ++s) v += std::pow(double(batch.inputs[3 * s + c]) - m, 2) / 5;
    CHECK(g[mean.offset + c] == Approx(6 * m));
    CHECK(g[variance.offset + c] == Approx(6 * v));
  }
  const double before = model.loss(p, batch).sum;
  p[mean.offset] += 1;
  CHECK(model.loss(p, batch).sum != before);
}

TEST_CASE("a batch that does not fit is refused with expected and found") {
  auto images = nn::mlp{.inputs = 12, .hidden = {4}, .outputs = 3}.make<float>(host);
  auto language = small_gpt.make<float>(host);
  const auto p = initialised<float>(images), q = initialised<float>(language);
  CHECK_THROWS_WITH(images.loss(p, random_images(2, 11, 3)), Catch::Contains("expected 12 features") && Catch::Contains("found 11"));
  auto wrong_label = random_images(2, 12, 3);
  wrong_label.targets[1] = 3;
  CHECK_THROWS_WITH(images.loss(p, wrong_label), Catch::Contains("target 1") && Catch::Contains("found 3"));
  CHECK_THROWS_WITH(language.loss(q, random_tokens(1, 10, 13)), Catch::Contains("1 to 9 tokens") && Catch::Contains("found 10"));
  auto unknown = random_tokens(1, 4, 13);
  unknown.inputs[2] = 13;
  CHECK_THROWS_WITH(language.loss(q, unknown), Catch::Contains("token 2") && Catch::Contains("found 13"));
  unknown.inputs[2] = -1;
  CHECK_THROWS_AS(language.loss(q, unknown), usage_error);
  CHECK_THROWS_AS(images.loss(std::vector<float>(3), random_images(2, 12, 3)), usage_error);
  CHECK_THROWS_AS(language.make_stage(2, 2, 1), usage_error);
  CHECK_THROWS_AS(language.unit_blocks(language.units()), usage_error);
  CHECK_THROWS_AS((nn::gpt{.heads = 3, .width = 8}.make<float>(host)), usage_error);
}

TEST_CASE("generate continues a prompt, the same for the same seed, beyond the context") {
  auto model = small_gpt.make<float>(host);
  const auto p = initialised<float>(model);
  const auto a = nn::generate(model, p, {1, 2, 3}, 20, 1.0, 5, 7), b = nn::generate(model, p, {1, 2, 3}, 20, 1.0, 5, 7);
  CHECK(a == b);
  CHECK(a.size() == 20);
  for (const auto token : a) CHECK((token >= 0 && token < 13));
  CHECK(nn::generate(model, p, {1}, 6, 0.0) == nn::generate(model, p, {1}, 6, 1.0, 1, 99));
  CHECK_THROWS_AS(nn::generate(model, p, {}, 1), usage_error);
}

TEST_CASE("models describe themselves") {
  CHECK(describe(nn::mlp{.inputs = 4, .hidden = {3}, .outputs = 2}) == "mlp{4 -> 3 -> 2, relu}");
  CHECK(describe(small_gpt) == "gpt{layers 2, heads 2, width 16, context 9, vocabulary 13, dropout 0}");
  CHECK(describe(nn::classifier{nn::sequential{nn::linear{8}, nn::relu, nn::linear{2}}, {4}, 2}) ==
        "classifier{sequential{linear{outputs 8, bias yes}, relu, linear{outputs 2, bias yes}}, [4] -> 2}");
  CHECK(nn::gpt{} == nn::gpt{});
}
