// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <unistd.h>

#include <entrain/core/policy.hpp>
#include <entrain/monitor/concepts.hpp>

// A progress bar on rank 0, redrawn in place at most ten times a second:
//
//   1234/2000 [===============>         ] loss 1.882 12.4k tokens/s ETA 1:02 comm 3%
//
// Rate, time left and the share of exposed communication are averages over about the last 20 steps. Where nobody watches
// (the stream is no terminal, TERM=dumb, or CI is set) it is quiet but for one line at the end, that of summary_line().

namespace entrain::monitor {

namespace detail {
template <class... Values> std::string print(const char* format, Values... values) {
  char text[160];
  const int length = std::snprintf(text, sizeof text, format, values...);
  return {text, std::size_t(std::clamp(length, 0, int(sizeof text) - 1))};
}

// 12345 -> "12.3k": short enough for a line.
inline std::string short_rate(double value) {
  if (!std::isfinite(value)) return "-";
  for (const char* prefix : {"", "k", "M", "G", "T"}) {
    if (value < 999.5) return print(value < 9.995 ? "%.2f%s" : value < 99.95 ? "%.1f%s" : "%.0f%s", value, prefix);
    value /= 1000;
  }
  return print("%.3gP", value);
}

// 3725 s -> "1:02:05"; 65 -> "1:05".
inline std::string clock_time(double seconds) {
  if (!std::isfinite(seconds) || seconds > 3.6e8) return "-";
  const auto total = static_cast<unsigned long>(seconds + 0.5);
  return total >= 3600 ? print("%lu:%02lu:%02lu", total / 3600, total / 60 % 60, total % 60) : print("%lu:%02lu", total / 60, total % 60);
}
}  // namespace detail

// "trained 2000 steps on 4 ranks: loss 4.1745 -> 1.7012, 12412 tokens/s"
inline std::string summary_line(const run_info& run, const run_summary& s) {
  return detail::print("trained %llu steps on %d rank%s: loss %.4f -> %.4f, %.0f ", static_cast<unsigned long long>(s.steps), run.ranks,
                       run.ranks == 1 ? "" : "s", s.first_loss, s.last_loss, s.seconds > 0 ? double(s.count) / s.seconds : 0.0) +
         run.unit + "/s" + (s.skipped_steps > 0 ? ", " + std::to_string(s.skipped_steps) + " steps skipped" : "") + (s.stopped_early ? " (stopped early)" : "");
}

struct progress {
  using slot_type = slot::monitor;
  static constexpr std::string_view name = "progress";

  std::FILE* stream = stderr;
  bool force = false;             // draw the bar wherever it goes
  double interval_seconds = 0.1;  // between two drawings
  bool summary = true;            // the line at the end

  struct state {
    run_info run = {};
    bool writes = false, draws = false;
    double seconds = 0, exposed = 0, count = 0;  // averages a step
    std::uint64_t steps = 0;
    std::chrono::steady_clock::time_point drawn = {};
  } now = {};

  void start(const run_info& run) {
    now = {};
    now.run = run;
    now.writes = run.rank == 0 && stream != nullptr;
    now.draws = now.writes && (force || someone_watches());
  }

  void step(const step_event& e) {
    if (!now.writes) return;
    ++now.steps;
    const double share = std::max(1.0 / double(now.steps), 0.05);  // of the newest step in the averages
    now.seconds += share * (e.seconds - now.seconds);
    now.exposed += share * (e.exposed_seconds - now.exposed);
    now.count += share * (double(e.count) - now.count);
    const auto time = std::chrono::steady_clock::now();
    const bool last = now.steps == now.run.steps;
    if (!now.draws || (!last && std::chrono::duration<double>(time - now.drawn).count() < interval_seconds)) return;
    now.drawn = time;
    std::fprintf(stream, "\r%s", draw(e).c_str());
    std::fflush(stream);
  }

  void finish(const run_summary& s) {
    if (!now.writes) return;
    if (now.draws && now.steps > 0) std::fputc('\n', stream);
    if (summary) std::fprintf(stream, "%s\n", summary_line(now.run, s).c_str());
    std::fflush(stream);
    now.writes = false;
  }

 private:
  static constexpr std::size_t columns = 79;  // the last column of a terminal is best left empty

  bool someone_watches() const {
    const char* term = std::getenv("TERM");
    const char* ci = std::getenv("CI");
    return ::isatty(::fileno(stream)) != 0 && !(term && std::string_view(term) == "dumb") && !(ci && *ci);
  }

  std::string draw(const step_event& e) const {
    const std::string total = std::to_string(now.run.steps), done = std::to_string(now.steps);
    const double rate = now.seconds > 0 ? now.count / now.seconds : 0;
    const double left = double(now.run.steps - std::min(now.steps, now.run.steps)) * now.seconds;
    const std::string head = std::string(total.size() - std::min(total.size(), done.size()), ' ') + done + "/" + total + " [";
    std::string tail =
        detail::print("] loss %.4g %s ", e.loss, detail::short_rate(rate).c_str()) + now.run.unit + "/s ETA " + detail::clock_time(left);
    if (now.run.ranks > 1) tail += detail::print(" comm %.0f%%", now.seconds > 0 ? 100 * now.exposed / now.seconds : 0.0);
    const std::size_t taken = head.size() + tail.size(), width = taken + 5 <= columns ? columns - taken : 5;
    const std::size_t filled =
        now.run.steps == 0 ? 0 : std::size_t(double(width) * double(std::min(now.steps, now.run.steps)) / double(now.run.steps));
    std::string bar(filled, '=');
    if (filled < width) bar += '>';
    bar.resize(width, ' ');
    std::string out = head + bar + tail;
    out.resize(columns, ' ');  // covers a longer line before it
    return out;
  }
};

}  // namespace entrain::monitor
