// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <unistd.h>

#include "catch.hpp"
#include <entrain/checkpoint/archive.hpp>
#include <entrain/checkpoint/policy.hpp>
#include <entrain/core/memory.hpp>

using namespace entrain;
namespace fs = std::filesystem;
using checkpoint::archive;

static_assert(checkpoint::checkpointing<checkpoint::none>);
static_assert(checkpoint::checkpointing<checkpoint::safetensors>);

namespace {

struct folder {
  fs::path path = fs::temp_directory_path() / ("entrain_archive_" + std::to_string(::getpid()));
  folder() { fs::remove_all(path), fs::create_directories(path); }
  ~folder() { fs::remove_all(path); }
};

struct pair {
  std::uint32_t index;
  float value;
  bool operator==(const pair&) const = default;
};

struct inner_state {
  std::vector<pair> kept;
  std::uint64_t step = 0;
  void visit(auto&& v) {
    v("kept", std::span(kept));
    v("step", step);
  }
};

struct outer_state {
  buffer<double> sums{3};
  inner_state inner{{{1, 0.5f}, {7, -1.0f}}, 0};
  bool warm = false;
  void visit(auto&& v) {
    v("sums", sums.span());
    prefixed_visitor nested{"inner", v};
    inner.visit(nested);
    v("warm", warm);
  }
};
static_assert(visitable<outer_state>);

std::size_t files_in(const fs::path& path) { return std::size_t(std::distance(fs::directory_iterator(path), {})); }

archive state_of(const std::vector<float>& weights) {
  archive out;
  out.add("weights", weights);
  return out;
}

}  // namespace

TEST_CASE("archive: tensors, scalars, texts and states come back bit for bit") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  std::vector<float> weights{1, 2, std::numeric_limits<float>::quiet_NaN(), -0.0f, 5, 6};
  outer_state state;
  state.sums[1] = 0.1;
  state.inner.step = std::numeric_limits<std::uint64_t>::max();
  state.warm = true;
  archive out;
  out.add("weights", weights, shape{2, 3});
  out.add("part", std::span<const float>(weights).first(2));
  out.add_scalar("loss", 0.1);
  out.add_scalar("step", std::int64_t(-1234567890123456789));
  out.add_state("state", state);
  out.add_text("run", "gpt \"small\"");
  out.save(path);

  const auto in = archive::load(path);
  CHECK(in.contains("state.inner.kept"));
  CHECK_FALSE(in.contains("state.inner"));
  CHECK(in.names().size() == 8);
  CHECK(in.count("weights") == 6);
  CHECK(in.dims("weights") == shape{2, 3});
  std::vector<float> again(6);
  in.read("weights", std::span(again), shape{2, 3});
  CHECK(std::memcmp(again.data(), weights.data(), 24) == 0);
  CHECK(in.read_scalar<double>("loss") == 0.1);
  CHECK(in.read_scalar<std::int64_t>("step") == -1234567890123456789);
  outer_state loaded;
  loaded.inner.kept.assign(2, {});
  in.read_state("state", loaded);
  CHECK(loaded.sums[1] == 0.1);
  CHECK(loaded.inner.kept == state.inner.kept);
  CHECK(loaded.inner.step == state.inner.step);
  CHECK(loaded.warm);
  REQUIRE(in.text("run") != nullptr);
  CHECK(*in.text("run") == "gpt \"small\"");
  CHECK(in.text("none") == nullptr);
}

TEST_CASE("archive: what does not fit is named, with what was expected and found") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  std::vector<float> weights(6);
  archive out;
  out.add("weights", weights, shape{2, 3});
  out.save(path);
  const auto in = archive::load(path);
  std::vector<double> doubles(6);
  CHECK_THROWS_WITH(in.read("weights", std::span(doubles)),
                    Catch::Contains("\"weights\"") && Catch::Contains("expected F64 with 6 elements, found F32 [2, 3]"));
  std::vector<float> five(5);
  CHECK_THROWS_WITH(in.read("weights", std::span(five)), Catch::Contains("expected F32 with 5 elements, found F32 [2, 3]"));
  CHECK_THROWS_WITH(in.read("weights", std::span(weights), shape{3, 2}), Catch::Contains("expected F32 [3, 2], found F32 [2, 3]"));
  CHECK_THROWS_WITH(in.read("bias", std::span(weights)), Catch::Contains("\"bias\" is missing"));
  std::vector<std::int32_t> integers(6);
  CHECK_THROWS_AS(in.read("weights", std::span(integers)), file_error);
  CHECK_THROWS_AS(archive().add("x", weights, shape{7}), usage_error);
  archive twice;
  twice.add("x", weights);
  twice.add("x", weights);
  CHECK_THROWS_WITH(twice.save(path), Catch::Contains("two tensors have this name"));
  CHECK_NOTHROW(archive::load(path));  // the old file still stands
}

TEST_CASE("archive: parameter blocks are stored by name, without padding") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  const parameter_layout layout{{"weight", {2, 3}}, {"bias", {2}}};
  std::vector<float> arena(layout.size(), 0.0f);
  for (std::size_t i = 0; i < 6; ++i) arena[i] = float(i + 1);
  arena[layout[1].offset] = 9;
  archive out;
  out.add_blocks("model", layout, std::span(arena));
  out.save(path);
  const auto in = archive::load(path);
  CHECK(in.dims("model.weight") == shape{2, 3});
  std::vector<float> again(layout.size(), 0.0f);
  in.read_blocks("model", layout, std::span(again));
  CHECK(again == arena);
  CHECK_THROWS_AS(in.read_blocks("model", parameter_layout{{"weight", {3, 2}}}, std::span(again)), file_error);
}

TEST_CASE("checkpoint policy: says when, keeps the newest, finds the newest that is whole") {
  const folder place;
  const checkpoint::safetensors policy{.directory = (place.path / "run" / "a").string(), .every = 10, .keep = 2};
  CHECK_FALSE(policy.due(0));
  CHECK_FALSE(policy.due(9));
  CHECK(policy.due(20));
  CHECK_FALSE(checkpoint::safetensors{.every = 0}.due(20));
  CHECK_FALSE(policy.latest());

  std::vector<float> weights(10);
  for (const std::uint64_t step : {10, 20, 30}) {
    weights[0] = float(step);
    CHECK(policy.save(state_of(weights), step) == policy.path_of(step));
  }
  CHECK(policy.path_of(30).filename() == "step-00000030.safetensors");
  CHECK(files_in(policy.directory) == 2);
  auto found = policy.latest();
  REQUIRE(found);
  CHECK(found.step == 30);
  CHECK(found.notes.empty());

  fs::resize_file(policy.path_of(30), 100);
  found = policy.latest();
  CHECK(found.step == 20);
  REQUIRE(found.notes.size() == 1);
  CHECK_THAT(found.notes[0], Catch::Contains("step-00000030") && Catch::Contains("skipped"));
  archive::load(found.path).read("weights", std::span(weights));
  CHECK(weights[0] == 20);

  for (const char* other : {"step-30.safetensors", "step-0000000x.safetensors", "step-99999999999999999999999.safetensors", "notes.txt",
                            "step-00000099.safetensors.tmp.1"})
    std::ofstream(fs::path(policy.directory) / other) << "x";
  CHECK(policy.latest().step == 20);
}

TEST_CASE("checkpoint policy: temporary files of killed runs go away with the next save") {
  const folder place;
  const checkpoint::safetensors policy{.directory = place.path.string(), .keep = 1};
  std::vector<float> weights(10);
  std::ofstream(place.path / "step-00000001.safetensors.tmp.99") << "half";
  std::ofstream(place.path / "step-00000077.safetensors.tmp.99") << "another run's";
  policy.save(state_of(weights), 5);
  policy.save(state_of(weights), 6);
  CHECK(fs::exists(policy.path_of(6)));
  CHECK(fs::exists(place.path / "step-00000077.safetensors.tmp.99"));
  CHECK(files_in(place.path) == 2);
  CHECK_THROWS_AS((checkpoint::safetensors{.directory = place.path.string(), .keep = 0}.save(state_of(weights), 7)), usage_error);
  CHECK_THROWS_AS((checkpoint::safetensors{.directory = (policy.path_of(6) / "x").string()}.save(state_of(weights), 7)), file_error);
}
