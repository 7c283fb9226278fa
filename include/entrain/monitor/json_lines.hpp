// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/json_text.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/monitor/concepts.hpp>

// Metrics as JSON lines, one object a line, which any tool reads (pandas.read_json(path, lines=True)):
//
//   {"event":"start","ranks":4,"first_step":0,"steps":2000,"unit":"tokens","unix_time":...,"version":"0.1.0","description":"..."}
//   {"event":"step","step":0,"loss":4.17,"count":3072,"learning_rate":0.001,"seconds":0.01,"exposed_seconds":0.001,"compute_seconds":0.008,"bytes_sent":81920}
//   {"event":"finish","steps":2000,"first_loss":4.17,"last_loss":1.5,"seconds":20.5,"count":6144000,"stopped_early":false}
//
// Numbers are the shortest text that reads back to the same value; NaN and infinities are null. Rank 0 writes. A run that
// starts at step 0 begins a new file, a resumed one appends (steps that were repeated then stand twice; the later is
// valid). Lines are on their way to the file at most `flush_seconds` after the step. Errors: file_error when the file
// cannot be opened or written.

namespace entrain::monitor {

struct json_lines {
  using slot_type = slot::monitor;

  std::string path = "metrics.jsonl";
  double flush_seconds = 1;

  std::shared_ptr<std::FILE> file = {};  // made by start()
  std::string line = {};
  std::chrono::steady_clock::time_point flushed = {};

  std::string describe() const { return describe_members("json_lines", "path", path); }

  void start(const run_info& run) {
    file.reset();
    if (run.rank != 0) return;
    std::FILE* opened = std::fopen(path.c_str(), run.first_step == 0 ? "wb" : "ab");
    if (!opened) throw file_error(path, "cannot open the file for writing", "success", std::strerror(errno));
    file = {opened, [](std::FILE* f) { std::fclose(f); }};
    begin("start");
    number("ranks", run.ranks), number("first_step", run.first_step), number("steps", run.steps), text("unit", run.unit);
    number("unix_time", std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
    text("version", ENTRAIN_VERSION_STRING), text("description", run.description);
    end(true);
  }

  void step(const step_event& e) {
    if (!file) return;
    begin("step");
    number("step", e.step), number("loss", e.loss), number("count", e.count), number("learning_rate", e.learning_rate);
    number("seconds", e.seconds), number("exposed_seconds", e.exposed_seconds), number("compute_seconds", e.compute_seconds),
        number("bytes_sent", e.bytes_sent);
    if (e.loss_scale != 1) number("loss_scale", e.loss_scale), number("skipped", e.skipped);
    end(std::chrono::duration<double>(std::chrono::steady_clock::now() - flushed).count() >= flush_seconds);
  }

  void finish(const run_summary& s) {
    if (!file) return;
    begin("finish");
    number("steps", s.steps), number("first_loss", s.first_loss), number("last_loss", s.last_loss), number("seconds", s.seconds);
    number("count", s.count), number("stopped_early", s.stopped_early);
    if (s.skipped_steps > 0) number("skipped_steps", s.skipped_steps);
    end(true);
    file.reset();
  }

 private:
  void begin(std::string_view event) {
    line.clear();
    line.append("{\"event\":\"").append(event).append("\"");
  }
  template <class Number> void number(std::string_view name, Number value) {
    line.append(",\"").append(name).append("\":");
    json::append_number(line, value);
  }
  void text(std::string_view name, std::string_view value) {
    line.append(",\"").append(name).append("\":");
    json::append_quoted(line, value);
  }
  void end(bool flush) {
    line += "}\n";
    bool good = std::fwrite(line.data(), 1, line.size(), file.get()) == line.size();
    if (flush) {
      good = std::fflush(file.get()) == 0 && good;
      flushed = std::chrono::steady_clock::now();
    }
    if (!good) throw file_error(path, "cannot write the metrics", "success", std::strerror(errno));
  }
};

}  // namespace entrain::monitor
