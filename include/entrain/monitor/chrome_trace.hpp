// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/core/json_text.hpp>

// A timeline in the format of chrome://tracing and https://ui.perfetto.dev, one track a rank:
//
//   monitor::chrome_trace trace;
//   trace.slice(rank, "all_reduce #12", start_ns, end_ns, "\"bytes\":4096");
//   trace.text()
//
// Slices of a track that overlap without one lying in the other, such as nonblocking collectives, are put in lanes
// of the track. Slices of a track are added in the order of their starts. Times are written in microseconds since `zero`.

namespace entrain::monitor {

class chrome_trace {
 public:
  explicit chrome_trace(std::int64_t zero_nanoseconds = 0) : zero_(zero_nanoseconds) {}

  // arguments: members of a JSON object without its braces, shown when the slice is selected.
  void slice(int track, std::string_view name, std::int64_t start, std::int64_t end, std::string_view arguments = {}) {
    begin();
    json::append_quoted(text_ += "\"name\":", name);
    text_ += ",\"ph\":\"X\"";
    place(track, lane_for(track, start, end));
    time("ts", start - zero_);
    time("dur", end - start);
    ((text_ += ",\"args\":{") += arguments) += "}}";
  }

  // The whole file.
  std::string text() {
    for (std::size_t track = 0; track < lanes_.size(); ++track) {
      if (lanes_[track].empty()) continue;
      begin();
      text_ += "\"name\":\"process_name\",\"ph\":\"M\"";
      place(int(track), 0);
      text_ += ",\"args\":{\"name\":\"rank " + std::to_string(track) + "\"}}";
    }
    return "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[" + std::exchange(text_, {}) + "\n]}\n";
  }

 private:
  void begin() { text_ += text_.empty() ? "\n{" : ",\n{"; }
  void place(int track, std::size_t lane) { text_ += ",\"pid\":" + std::to_string(track) + ",\"tid\":" + std::to_string(lane); }
  void time(std::string_view name, std::int64_t nanoseconds) {
    ((text_ += ",\"") += name) += "\":";
    json::append_number(text_, double(nanoseconds) / 1000.0);
  }
  // The first lane that is free at `start`.
  std::size_t lane_for(int track, std::int64_t start, std::int64_t end) {
    if (lanes_.size() <= std::size_t(track)) lanes_.resize(std::size_t(track) + 1);
    auto& lanes = lanes_[std::size_t(track)];
    std::size_t lane = 0;
    while (lane < lanes.size() && lanes[lane] > start) ++lane;
    if (lane == lanes.size()) lanes.push_back(end);
    else lanes[lane] = end;
    return lane;
  }

  std::int64_t zero_;
  std::string text_;
  std::vector<std::vector<std::int64_t>> lanes_;  // [track][lane]: when it becomes free
};

}  // namespace entrain::monitor
