// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/monitor/monitor.hpp>
#include <entrain/testing/checkpoint_laws.hpp>
#include <entrain/testing/engine_laws.hpp>
#include <entrain/testing/monitor_laws.hpp>

using namespace entrain;

namespace {
struct folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("entrain-laws-" + std::to_string(::getpid()));
  folder() { std::filesystem::create_directories(path); }
  ~folder() { std::filesystem::remove_all(path); }
};
struct wrong_engine {
  using space = host_space;
  operator engine::reference() const { return {}; }
};
}  // namespace

namespace entrain::nn::ops {
// An engine with a bug: its tanh is off by one part in a thousand.
template <class T>
void forward(const wrong_engine&, const activation& d, const T* in, T* out) {
  forward(engine::reference{}, d, in, out);
  for (std::size_t i = 0; i < d.count; ++i) out[i] *= T(1.001);
}
}  // namespace entrain::nn::ops

TEST_CASE("both engines keep the law of engines; a wrong one does not", "[laws]") {
  CHECK_NOTHROW(testing::check_engine(engine::reference{}));
  CHECK_NOTHROW(testing::check_engine(engine::host{}));
  CHECK_THROWS_WITH(testing::check_engine(wrong_engine{}), Catch::Matchers::Contains("activation differs"));
}

TEST_CASE("every checkpoint policy keeps the laws", "[laws]") {
  const folder here;
  CHECK_NOTHROW(testing::check_checkpoint(checkpoint::none{}));
  CHECK_NOTHROW(testing::check_checkpoint(checkpoint::safetensors{.directory = (here.path / "states").string(), .every = 7}));
}

TEST_CASE("every monitor keeps the laws", "[laws]") {
  const folder here;
  std::vector<monitor::step_event> events;
  std::FILE* sink = std::fopen("/dev/null", "w");
  CHECK_NOTHROW(testing::check_monitor(monitor::record{events}));
  CHECK_NOTHROW(testing::check_monitor(monitor::progress{.stream = sink, .force = true}));
  CHECK_NOTHROW(testing::check_monitor(monitor::json_lines{.path = (here.path / "m.jsonl").string()}));
  CHECK_NOTHROW(testing::check_monitor(monitor::html_report{.path = (here.path / "r.html").string()}));
  std::fclose(sink);
}
