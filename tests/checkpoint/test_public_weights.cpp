// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

#include "catch.hpp"
#include <entrain/checkpoint/public_weights.hpp>
#include <entrain/checkpoint/public_weights_writer.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/reference.hpp>

using namespace entrain;
using namespace entrain::checkpoint;
namespace fs = std::filesystem;

// The files in tests/checkpoint/public come from make_public_weights.py, which knows nothing of this library.

namespace {

const fs::path fixtures = fs::path(ENTRAIN_SOURCE_DIR) / "tests/checkpoint/public";
constexpr weight_rule torch_linear_rules[] = {{weight_action::transposed, "h.*.attn.c_attn.weight"},
                                              {weight_action::transposed, "h.*.attn.c_proj.weight"},
                                              {weight_action::transposed, "h.*.mlp.c_fc.weight"},
                                              {weight_action::transposed, "h.*.mlp.c_proj.weight"}};
constexpr weight_table torch_linear{"", torch_linear_rules};

struct folder {
  fs::path path = fs::temp_directory_path() / ("entrain_public_weights_" + std::to_string(::getpid()));
  folder() { fs::remove_all(path), fs::create_directories(path); }
  ~folder() { fs::remove_all(path); }
};

nn::gpt tiny() { return {.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = 11}; }

double loss_of(const fs::path& path, const weight_table& table) {
  auto model = tiny().make<float>(engine::reference{});
  std::vector<float> parameters(model.layout().size());
  load_public_weights(path, model.layout(), std::span(parameters), table);
  token_batch batch;
  batch.resize(2, 4);
  batch.inputs = {1, 5, 9, 2, 10, 0, 3, 3}, batch.targets = {5, 9, 2, 7, 0, 3, 3, 8};
  return model.loss(parameters, batch).mean();
}
double told(const fs::path& file) { return std::stod(*safetensors_file(file).find_metadata("loss")); }

// Two blocks with padding between them, and values that F16 and BF16 hold exactly.
const parameter_layout small{{"wte.weight", {3, 2}}, {"h.0.ln_1.bias", {4}}};
template <class T>
std::vector<T> numbers() {
  std::vector<T> out(small.size(), T(0));
  for (const auto& block : small.blocks())
    for (std::size_t i = 0; i < block.count; ++i) out[block.offset + i] = T(0.5f * float(i) - 1.0f);
  return out;
}
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (float(a[i]) != float(b[i])) return false;
  return a.size() == b.size();
}

template <class T>
void add(safetensors_writer& out, std::string name, shape dims, const std::vector<T>& values) {
  out.add(std::move(name), dtype_of<T>::value, std::move(dims), [values](const auto& sink) { sink(std::as_bytes(std::span(values))); });
}
const std::vector<float> six{-1, -0.5f, 0, 0.5f, 1, 1.5f}, four{-1, -0.5f, 0, 0.5f};

// What loading into `small` says of a file that `fill` makes; the arena must then be untouched.
template <class Fill>
std::string error_of(Fill fill, const load_weights_options& options = {}, const weight_table& table = gpt2_weights) {
  const folder place;
  safetensors_writer out;
  fill(out);
  out.write(place.path / "bad.safetensors");
  std::vector<float> arena(small.size(), 7);
  std::string message;
  try {
    load_public_weights(place.path / "bad.safetensors", small, std::span(arena), table, options);
  } catch (const file_error& e) {
    message = e.what();
    CHECK(arena == std::vector<float>(small.size(), 7));
  }
  if (!message.empty()) CHECK_THAT(message, Catch::Contains("bad.safetensors"));
  return message;
}

void edit(const fs::path& path, const std::string& from, const std::string& to) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  REQUIRE(text.find(from) != text.npos);
  text.replace(text.find(from), from.size(), to);
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("public weights: another program's files give the loss that it computed", "[checkpoint]") {
  CHECK(loss_of(fixtures / "model.safetensors", gpt2_weights) == Approx(told(fixtures / "model.safetensors")).margin(1e-5));
  CHECK(loss_of(fixtures, gpt2_weights) == Approx(told(fixtures / "model.safetensors")).margin(1e-5));
  const double halves = told(fixtures / "sharded/model-00001-of-00002.safetensors");
  CHECK(loss_of(fixtures / "sharded", gpt2_weights) == Approx(halves).margin(1e-5));
  CHECK(loss_of(fixtures / "sharded/model.safetensors.index.json", gpt2_weights) == Approx(halves).margin(1e-5));
  CHECK(loss_of(fixtures / "transposed.safetensors", torch_linear) == Approx(told(fixtures / "transposed.safetensors")).margin(1e-5));
}

TEST_CASE("public weights: a model comes back bit for bit", "[checkpoint]") {
  const folder place;
  auto model = nn::gpt{.layers = 2, .heads = 2, .width = 8, .context = 4, .vocabulary = 11}.make<float>(engine::reference{});
  const auto& layout = model.layout();
  std::vector<float> first(layout.size());
  model.initialise(std::span(first), 3);
  for (const auto* table : {&gpt2_weights, &torch_linear})
    for (const bool prefix : {true, false})
      for (const std::uint64_t shard : {0, 2000, 1}) {
        const auto path = place.path / "model.safetensors";
        save_public_weights(path, layout, std::span(first), *table, {.prefix = prefix, .shard_bytes = shard});
        CHECK(fs::exists(path) == (shard == 0));  // the file from before does not hide the new ones
        std::vector<float> second(layout.size());
        load_public_weights(place.path, layout, std::span(second), *table);
        CHECK(first == second);
      }
  save_public_weights(place.path / "b.safetensors", layout, std::span(first));
  const safetensors_file file(place.path / "b.safetensors");
  REQUIRE(file.find_metadata("format"));
  CHECK(*file.find_metadata("format") == "pt");
  REQUIRE(file.find("transformer.h.1.attn.c_attn.weight"));
  CHECK(file.find("transformer.h.1.attn.c_attn.weight")->dims == shape{8, 24});
  CHECK(!file.find("lm_head.weight"));
  CHECK(file.tensors().size() == layout.blocks().size());
}

TEMPLATE_TEST_CASE("public weights: every type on file into every type in memory", "[checkpoint]", float, double, bfloat16, float16) {
  const folder place;
  const auto path = place.path / "a.safetensors";
  const auto all = numbers<TestType>();
  for (const dtype type : {dtype::f32, dtype::bf16}) {
    save_public_weights(path, small, std::span(all), gpt2_weights, {.type = type});
    CHECK(safetensors_file(path).tensors()[0].type->type == type);
    std::vector<TestType> back(small.size(), TestType(0));
    load_public_weights(path, small, std::span(back));
    CHECK(same(all, back));
  }
  safetensors_writer out;
  add(out, "wte.weight", {3, 2}, std::vector<float16>(six.begin(), six.end()));
  add(out, "h.0.ln_1.bias", {4}, std::vector<bfloat16>(four.begin(), four.end()));
  out.write(path);
  std::vector<TestType> back(small.size(), TestType(0));
  load_public_weights(path, small, std::span(back));
  CHECK(same(all, back));
}

TEST_CASE("public weights: long tensors, read and written in several pieces", "[checkpoint]") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  const parameter_layout long_one{{"h.0.mlp.c_fc.weight", {301, 177}}};
  std::vector<float> first(long_one.size()), second(long_one.size());
  for (std::size_t i = 0; i < 301 * 177; ++i) first[i] = float(i);
  for (const auto* table : {&gpt2_weights, &torch_linear}) {
    save_public_weights(path, long_one, std::span(first), *table);
    load_public_weights(path, long_one, std::span(second), *table);
    CHECK(first == second);
  }
  safetensors_writer out;  // a tie over several pieces
  const parameter_layout table{{"wte.weight", {301, 177}}};
  first.resize(301 * 177);
  auto other = first;
  other[40'000] += 1;
  add(out, "wte.weight", {301, 177}, first);
  add(out, "lm_head.weight", {301, 177}, other);
  out.write(path);
  CHECK_THROWS_WITH(load_public_weights(path, table, std::span(second)), Catch::Contains("element 40000"));
}

TEST_CASE("public weights: a padded vocabulary", "[checkpoint]") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  const parameter_layout larger{{"wte.weight", {5, 2}}, {"h.0.ln_1.bias", {4}}};
  const auto all = numbers<float>();
  save_public_weights(path, small, std::span(all));
  std::vector<float> arena(larger.size(), 7);
  CHECK_THROWS_WITH(load_public_weights(path, larger, std::span(arena)), Catch::Contains("load_weights_options::padded") && Catch::Contains("wte.weight") &&
                                                                             Catch::Contains("[5, 2]") && Catch::Contains("[3, 2]"));
  load_public_weights(path, larger, std::span(arena), gpt2_weights, {.padded = true});
  CHECK(std::vector<float>(arena.begin(), arena.begin() + 6) == six);
  CHECK(std::vector<float>(arena.begin() + 6, arena.begin() + 10) == std::vector<float>(4, 7));
  save_public_weights(path, larger, std::span(arena), gpt2_weights, {.rows = 3});
  std::vector<float> back(small.size());
  load_public_weights(path, small, std::span(back));
  CHECK(back == all);
  save_public_weights(path, larger, std::span(arena));
  CHECK_THROWS_WITH(load_public_weights(path, small, std::span(back), gpt2_weights, {.padded = true}), Catch::Contains("shape of the model's block"));
  CHECK_THROWS_AS(save_public_weights(path, larger, std::span(arena), gpt2_weights, {.rows = 6}), usage_error);
}

TEST_CASE("public weights: each error names file and tensor", "[checkpoint]") {
  const auto good = [](auto& out) {
    add(out, "wte.weight", {3, 2}, six);
    add(out, "h.0.ln_1.bias", {4}, four);
  };
  using Catch::Contains;
  CHECK(error_of(good).empty());
  CHECK_THAT(error_of([](auto& out) { add(out, "wte.weight", {3, 2}, six); }), Contains("also \"h.0.ln_1.bias\""));
  CHECK_THAT(error_of([&](auto& out) { good(out), add(out, "h.1.ln_1.bias", {4}, four); }), Contains("does not have: \"h.1.ln_1.bias\""));
  CHECK_THAT(error_of([&](auto& out) { good(out), add(out, "transformer.wte.weight", {3, 2}, six); }), Contains("two tensors") && Contains("\"transformer.wte.weight\""));
  CHECK_THAT(error_of([](auto& out) { add(out, "wte.weight", {2, 3}, six), add(out, "h.0.ln_1.bias", {4}, four); }),
             Contains("\"wte.weight\"") && Contains("expected F32, F16 or BF16 [3, 2], found F32 [2, 3]"));
  CHECK_THAT(error_of([](auto& out) { add(out, "wte.weight", {3, 2}, six), add(out, "h.0.ln_1.bias", {4}, std::vector<std::int32_t>(4)); }), Contains("found I32 [4]"));
  CHECK_THAT(error_of([](auto& out) { add(out, "wte.weight", {3, 2}, six), add(out, "h.0.ln_1.bias", {3}, std::vector<float>(3)); }), Contains("[4], found F32 [3]"));
  CHECK_THAT(error_of([](auto& out) { add(out, "wte.weight", {}, std::vector<float>(1)), add(out, "h.0.ln_1.bias", {4}, four); }), Contains("found F32 []"));

  CHECK(error_of([&](auto& out) { good(out), add(out, "lm_head.weight", {3, 2}, six); }).empty());
  CHECK_THAT(error_of([&](auto& out) { good(out), add(out, "lm_head.weight", {3, 2}, std::vector<float>(6)); }), Contains("\"lm_head.weight\" is tied") && Contains("element 0"));
  CHECK_THAT(error_of([&](auto& out) { good(out), add(out, "lm_head.weight", {6}, six); }), Contains("found F32 [6]"));
  CHECK(error_of([&](auto& out) { good(out), add(out, "transformer.h.7.attn.bias", {4}, four), add(out, "h.7.attn.masked_bias", {4}, four); }).empty());
  CHECK_THAT(error_of([&](auto& out) { good(out), add(out, "h.7.attn.c_attn.bias", {4}, four); }), Contains("c_attn.bias"));

  std::vector<float> arena(small.size());
  const folder place;
  CHECK_THROWS_WITH(load_public_weights(place.path, small, std::span(arena)), Contains("a directory without weights"));
  CHECK_THROWS_AS(load_public_weights(place.path / "none.safetensors", small, std::span(arena)), file_error);
  CHECK_THROWS_AS(load_public_weights(place.path, small, std::span(arena).first(3)), usage_error);
  CHECK_THROWS_WITH(save_public_weights(place.path / "a", small, std::span(arena), gpt2_weights, {.type = dtype::f16}), Contains("f32 or bf16"));
  save_public_weights(place.path / "a", small, std::span(arena));
  {
    std::fstream file(place.path / "a", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end).put('\x55');
  }
  CHECK_THROWS_WITH(load_public_weights(place.path / "a", small, std::span(arena)), Contains("damaged"));
  CHECK_NOTHROW(load_public_weights(place.path / "a", small, std::span(arena), gpt2_weights, {.verify = false}));
}

TEST_CASE("public weights: names by rule", "[checkpoint]") {
  constexpr weight_rule rules[] = {{weight_action::renamed, "layers.*.norm.bias", "h.*.ln_1.bias"}, {weight_action::renamed, "embed", "wte.weight"}};
  const weight_table table{"model.", rules};
  const folder place;
  const auto path = place.path / "a.safetensors";
  const auto all = numbers<float>();
  save_public_weights(path, small, std::span(all), table);
  CHECK(safetensors_file(path).find("model.layers.0.norm.bias"));
  CHECK(safetensors_file(path).find("model.embed"));
  std::vector<float> back(small.size());
  load_public_weights(path, small, std::span(back), table);
  CHECK(back == all);
  CHECK_THROWS_WITH(load_public_weights(path, small, std::span(back)), Catch::Contains("\"model.embed\""));
  constexpr weight_rule wrong[] = {{weight_action::transposed, "h.*.ln_1.bias"}};
  CHECK_THROWS_WITH(load_public_weights(path, small, std::span(back), weight_table{"model.", wrong}), Catch::Contains("not the weights"));
  CHECK_THROWS_AS(save_public_weights(path, small, std::span(all), weight_table{"", wrong}), usage_error);
}

TEST_CASE("public weights: an index and its files must agree", "[checkpoint]") {
  const folder place;
  const auto all = numbers<float>();
  std::vector<float> back(small.size());
  const auto index = place.path / "model.safetensors.index.json";
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  const auto error_after = [&](const std::string& from, const std::string& to) -> std::string {
    save_public_weights(place.path / "model.safetensors", small, std::span(all), gpt2_weights, {.shard_bytes = 8});
    edit(index, from, to);
    try {
      load_public_weights(place.path, small, std::span(back));
    } catch (const file_error& e) { return e.what(); }
    return "";
  };
  using Catch::Contains;
  CHECK(error_after("total_size", "total_size").empty());
  CHECK_THAT(error_after(first, second), Contains(second) && Contains("lacks tensor \"transformer.wte.weight\""));
  CHECK_THAT(error_after("transformer.wte", "transformer.wtf"), Contains(first) && Contains("no such tensor in the index"));
  CHECK_THAT(error_after(second + "\"", second + "\", \"x\": \"" + second + "\""), Contains("lacks tensor \"x\""));
  CHECK_THAT(error_after(second, "model-3.safetensors"), Contains("model-3.safetensors"));
  CHECK_THAT(error_after(second, "../" + second), Contains("without folders"));
  CHECK_THAT(error_after("weight_map", "map_weight"), Contains("not an index of weights"));
  CHECK_THAT(error_after("}}", "}"), Contains("index.json"));
  CHECK_THAT(error_after("transformer.h.0.ln_1.bias", "transformer.wte.weight"), Contains("twice"));
}
