// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "catch.hpp"
#include <entrain/checkpoint/json.hpp>
#include <entrain/monitor/monitor.hpp>

using namespace entrain;
using namespace entrain::monitor;
namespace fs = std::filesystem;

static_assert(monitor::monitor<progress>);
static_assert(monitor::monitor<json_lines>);
static_assert(monitor::monitor<html_report>);
static_assert(monitor::monitor<record>);

namespace {

struct folder {
  fs::path path = fs::temp_directory_path() / ("entrain_monitor_" + std::to_string(::getpid()));
  folder() { fs::remove_all(path), fs::create_directories(path); }
  ~folder() { fs::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
};

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

step_event event(std::uint64_t step, double loss) {
  return {.step = step,
          .loss = loss,
          .count = 256,
          .learning_rate = 1e-3,
          .seconds = 0.25,
          .exposed_seconds = 0.05,
          .compute_seconds = 0.125,
          .bytes_sent = 1000};
}
run_info info(std::uint64_t steps, int rank = 0) {
  return {.rank = rank, .ranks = 4, .first_step = 0, .steps = steps, .description = "a <model> & \"more\"\nline", .unit = "tokens"};
}
constexpr run_summary summary{.steps = 100, .first_loss = 4.25, .last_loss = 1.5, .seconds = 25, .count = 25'600, .stopped_early = false};

// Drives a monitor through a run; the file it gets is read back.
template <class Make> std::string output_of(Make make, std::uint64_t steps, int rank = 0) {
  const folder place;
  std::FILE* stream = std::fopen((place / "out").c_str(), "wb+");
  auto sink = make(stream);
  sink.start(info(steps, rank));
  for (std::uint64_t i = 0; i < steps; ++i) sink.step(event(i, 4.25 - double(i) / 50));
  sink.finish(summary);
  std::fclose(stream);
  return slurp(place / "out");
}

double number_in(const std::string& line, const std::string& name) {
  json::reader in(line, "line");
  double value = std::numeric_limits<double>::quiet_NaN();
  in.object([&](const std::string& key) {
    if (key == name && !in.null()) value = in.number();
    else if (key != name) in.skip();
  });
  in.end();
  return value;
}

}  // namespace

TEST_CASE("progress: every drawing fits 80 columns and says what matters") {
  const auto text = output_of([](std::FILE* f) { return progress{.stream = f, .force = true, .interval_seconds = 0}; }, 100);
  std::vector<std::string> drawn;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, '\r');) drawn.push_back(part);
  REQUIRE(drawn.size() == 101);  // text before the first carriage return is empty
  for (std::size_t i = 1; i < 100; ++i) CHECK(drawn[i].size() == 79);
  CHECK_THAT(drawn[50], Catch::Contains(" 50/100 [") && Catch::Contains("loss 3.27") && Catch::Contains("1.02k tokens/s") &&
                            Catch::Contains("ETA 0:13") && Catch::Contains("comm 20%"));
  CHECK_THAT(drawn[50], Catch::Contains("=>") && Catch::Contains(" ]"));
  CHECK_THAT(drawn[100], Catch::Contains("100/100 [==") && Catch::Contains("=]") && Catch::Contains("ETA 0:00"));
  CHECK_THAT(drawn[100], Catch::EndsWith("\ntrained 100 steps on 4 ranks: loss 4.2500 -> 1.5000, 1024 tokens/s\n"));
}

TEST_CASE("progress: is drawn at a limited rate, always at the end") {
  const auto text = output_of([](std::FILE* f) { return progress{.stream = f, .force = true, .interval_seconds = 1000}; }, 100);
  CHECK(std::count(text.begin(), text.end(), '\r') == 2);
  CHECK_THAT(text, Catch::Contains("  1/100") && Catch::Contains("100/100"));
}

TEST_CASE("progress: is one line where nobody watches, and nothing on other ranks") {
  const auto quiet = [](std::FILE* f) { return progress{.stream = f}; };
  CHECK(output_of(quiet, 100) == "trained 100 steps on 4 ranks: loss 4.2500 -> 1.5000, 1024 tokens/s\n");
  CHECK(output_of([](std::FILE* f) { return progress{.stream = f, .summary = false}; }, 100).empty());
  CHECK(output_of([](std::FILE* f) { return progress{.stream = f, .force = true}; }, 100, 1).empty());
  CHECK_THAT(output_of(quiet, 0), Catch::StartsWith("trained"));
}

TEST_CASE("progress: survives numbers that are not") {
  const folder place;
  std::FILE* stream = std::fopen((place / "out").c_str(), "wb+");
  progress sink{.stream = stream, .force = true, .interval_seconds = 0};
  auto run = info(18'000'000'000'000'000'000u);
  run.unit = "unusually long names of samples";
  sink.start(run);
  for (const double loss : {std::numeric_limits<double>::quiet_NaN(), 1e300, -std::numeric_limits<double>::infinity()})
    sink.step({.step = 0, .loss = loss});
  sink.step({.step = 4, .loss = 1, .count = std::numeric_limits<std::int64_t>::max(), .seconds = 1e-9});
  sink.finish({});
  std::fclose(stream);
  std::istringstream in(slurp(place / "out"));
  for (std::string part; std::getline(in, part, '\r');) CHECK(part.substr(0, part.find('\n')).size() <= 79);
  CHECK(monitor::detail::short_rate(999.6) == "1.00k");
  CHECK(monitor::detail::clock_time(3725) == "1:02:05");
}

TEST_CASE("json_lines: one valid object a line, numbers exact, NaN as null") {
  const folder place;
  json_lines sink{.path = place / "m.jsonl"};
  sink.start(info(3));
  for (const double loss : {1.0 / 3, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    sink.step(event(7, loss));
  sink.finish(summary);
  const auto lines = lines_of(slurp(place / "m.jsonl"));
  REQUIRE(lines.size() == 5);
  CHECK(number_in(lines[0], "steps") == 3);
  CHECK_THAT(lines[0], Catch::Contains(R"("description":"a <model> & \"more\"\nline")"));
  CHECK(number_in(lines[1], "loss") == 1.0 / 3);
  CHECK(number_in(lines[1], "bytes_sent") == 1000);
  CHECK(
      lines[1] ==
      R"({"event":"step","step":7,"loss":0.3333333333333333,"count":256,"learning_rate":0.001,"seconds":0.25,"exposed_seconds":0.05,"compute_seconds":0.125,"bytes_sent":1000})");
  CHECK_THAT(lines[2], Catch::Contains("\"loss\":null"));
  CHECK_THAT(lines[3], Catch::Contains("\"loss\":null"));
  CHECK(number_in(lines[4], "last_loss") == 1.5);
}

TEST_CASE("json_lines: starts afresh, appends when resumed, writes on rank 0, flushes in time") {
  const folder place;
  json_lines sink{.path = place / "m.jsonl", .flush_seconds = 0};
  for (int i = 0; i < 2; ++i) {
    sink.start(info(1));
    sink.step(event(0, 1));
    CHECK(lines_of(slurp(place / "m.jsonl")).size() == 2);  // in the file at once
    sink.finish(summary);
  }
  CHECK(lines_of(slurp(place / "m.jsonl")).size() == 3);
  auto resumed = info(1);
  resumed.first_step = 1;
  sink.start(resumed);
  sink.finish(summary);
  CHECK(lines_of(slurp(place / "m.jsonl")).size() == 5);
  json_lines other{.path = place / "other.jsonl"};
  other.start(info(1, 1));
  other.step(event(0, 1));
  other.finish(summary);
  CHECK_FALSE(fs::exists(place / "other.jsonl"));
  CHECK_THROWS_WITH((json_lines{.path = place / "no/such"}.start(info(1))), Catch::Contains("cannot open"));
}

TEST_CASE("json_lines: a full disk is an error, not silence") {
  if (!fs::exists("/dev/full")) return;
  json_lines sink{.path = "/dev/full"};
  CHECK_THROWS_AS(sink.start(info(1)), file_error);
}

TEST_CASE("record: keeps the steps of one rank") {
  std::vector<step_event> events;
  for (const int rank : {0, 1, 2, 3}) {
    record sink{events};
    sink.start(info(2, rank));
    sink.step(event(5, double(rank)));
  }
  REQUIRE(events.size() == 1);
  CHECK(events[0].step == 5);
  record other{events, 2};
  other.start(info(2, 2));
  other.step(event(6, 0));
  CHECK(events.size() == 2);
}
