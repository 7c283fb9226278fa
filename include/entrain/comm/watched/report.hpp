// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include <entrain/comm/watched/diagnosis.hpp>
#include <entrain/core/json_text.hpp>

// What is told of a failure: the message for a person, and all that the board holds as JSON for a tool.

namespace entrain::comm::watched_detail {

// One line a rank: "rank 1 has waited 2.0 s in all_reduce #12 of 10 f32 (sum); last completed: ...".
inline std::string rank_line(const picture& p, const rank_picture& one) {
  std::string out = "  rank " + std::to_string(one.rank);
  const auto waits = awaited(p, one);
  if (waits.empty() || one.stopped()) out += " " + condition_text(p, one);
  if (!one.gone())
    for (std::size_t i = 0; i < waits.size() && i < 4; ++i)
      out += (i == 0 && !one.stopped() ? " waits" : "; waits") + std::string(" for ") + seconds_text(p.now - waits[i]->start) + " in " + describe(p, *waits[i]);
  if (const event* last = last_completed(one))
    out += "; last " + std::string(last->failed() ? "failed" : "completed") + ": " + describe(p, *last) + ", " + seconds_text(p.now - last->end_time()) + " ago";
  else out += "; has completed nothing yet";
  return out + "\n";
}

inline std::string message_text(const picture& p, int reporter, const std::string& headline, const std::vector<std::string>& remarks) {
  std::string out = "watched rank " + std::to_string(reporter) + ": " + headline + "\n";
  for (const auto& remark : remarks) out += "  " + remark + "\n";
  std::size_t shown = 0;
  for (const auto& one : p.all)
    if (++shown <= 32) out += rank_line(p, one);
  if (shown > 32) out += "  and " + std::to_string(shown - 32) + " more ranks of this node\n";
  return out;
}

inline void append_json(std::string& out, const event& e) {
  const auto number = [&](std::string_view name, auto value) {
    json::append_quoted(out += ",", name), out += ":";
    json::append_number(out, value);
  };
  out += "{\"operation\":", json::append_quoted(out, operation_name(e.operation));
  out += ",\"type\":", json::append_quoted(out, name_of(e.type));
  if (e.detail != 0) out += ",\"reduction\":", json::append_quoted(out, reduction_name(e.detail));
  out += ",\"state\":", json::append_quoted(out, e.failed() ? "failed" : e.ended() ? "complete" : e.end == event::awaited ? "awaited" : "in flight");
  number("sequence", e.sequence), number("count", e.count), number("bytes", e.bytes()), number("group", e.group);
  if (e.root >= 0) number(is_message(e) ? "peer" : "root", e.root);
  if (is_message(e)) number("tag", e.tag);
  number("start_ns", e.start);
  if (e.ended()) number("end_ns", e.end_time());
  out += "}";
}

inline std::string json_text(const picture& p, int reporter, const std::string& headline) {
  std::string out = "{\"reporter\":" + std::to_string(reporter) + ",\"now_ns\":" + std::to_string(p.now) + ",\"finding\":";
  json::append_quoted(out, headline);
  out += ",\"ranks\":[";
  for (const auto& one : p.all) {
    if (&one != &p.all.front()) out += ",";
    out += "\n{\"rank\":" + std::to_string(one.rank) + ",\"process\":" + std::to_string(one.process) + ",\"dead\":" + (one.dead ? "true" : "false") +
           ",\"stopped\":" + (one.stopped() ? "true" : "false") + ",\"left\":" + (one.gone() && !one.dead ? "true" : "false") + ",\"groups\":[";
    for (const auto& line : one.lines)
      out += (&line == &one.lines.front() ? "" : ",") + std::string("{\"group\":") + std::to_string(line.group) + ",\"rank\":" + std::to_string(line.rank) +
             ",\"size\":" + std::to_string(line.size) + ",\"begun\":" + std::to_string(line.begun) + ",\"completed\":" + std::to_string(line.completed) + "}";
    out += "],\"events\":[";
    for (const auto& e : one.events) {
      out += &e == &one.events.front() ? "\n " : ",\n ";
      append_json(out, e);
    }
    out += "]}";
  }
  return out + "]}\n";
}

// False where the file cannot be written: the job ends anyway.
inline bool write_file(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file) return false;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written;
}

}  // namespace entrain::comm::watched_detail
