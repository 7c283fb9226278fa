// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/monitor/concepts.hpp>
#include <entrain/monitor/detail/series.hpp>
#include <entrain/monitor/svg.hpp>

// One HTML file about a run, written by rank 0 at its end: what ran, key figures, the loss, where the time of a step
// went, and what was sent. It needs nothing else (no script, no network), reads well on a phone, and follows the reader's
// choice of light or dark. Long runs are thinned out to 1000 stretches whose extreme losses are kept. Times and bytes are
// those of rank 0; losses and counts are global.

namespace entrain::monitor {

namespace detail {
inline constexpr std::string_view report_style =
    "<style>:root{color-scheme:light dark}*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:1180px;padding:20px 16px 40px;font:15px/1.5 system-ui,-apple-system,'Segoe "
    "UI',sans-serif;background:#f6f8fa;color:#1f2328}"
    "h1{font-size:22px;margin:4px 0 2px}.sub{color:#59636e;margin:0 0 18px}"
    ".figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(190px,45%),1fr));gap:10px;margin:0 0 14px}"
    ".figures div,.chart,details{background:#fff;border:1px solid #d8dee4;border-radius:10px}"
    ".figures div{padding:10px 14px}.figures "
    "b{display:block;font-size:18px;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}.figures "
    "span{color:#59636e;font-size:13px}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}.chart{padding:6px 2px}.chart "
    "svg{display:block;width:100%;height:auto}"
    "details{margin-top:14px;padding:10px "
    "14px}summary{cursor:pointer;font-weight:600}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px;margin:10px 0 2px}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}.sub,.figures span{color:#9aa4ae}.figures "
    "div,.chart,details{background:#151b23;border-color:#30363d}}</style>";

// Seconds in the unit that suits their size.
struct time_unit {
  double factor;
  std::string_view name;
  static time_unit of(double seconds) {
    return seconds >= 1 ? time_unit{1, "s"} : seconds >= 1e-3 ? time_unit{1e3, "ms"} : time_unit{1e6, "\xC2\xB5s"};
  }
  [[gnu::noinline]] std::string words(double seconds) const {
    const double value = seconds * factor;
    return svg::detail::fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0) + " " + std::string(name);
  }
};

[[gnu::noinline]] inline std::string duration_words(double seconds) {
  if (seconds < 120) return time_unit::of(seconds).words(seconds);
  const auto total = static_cast<std::uint64_t>(seconds + 0.5);
  const std::string minutes = std::to_string(total / 60 % 60) + " min ";
  return total >= 3600 ? std::to_string(total / 3600) + " h " + minutes : minutes + std::to_string(total % 60) + " s";
}
}  // namespace detail

struct html_report {
  using slot_type = slot::monitor;

  std::string path = "report.html";
  std::string title = "Training run";

  struct state {
    run_info run = {};
    detail::series series = {};
  } now = {};

  std::string describe() const { return describe_members("html_report", "path", path); }

  void start(const run_info& run) { now = {run, {}}; }
  void step(const step_event& event) {
    if (now.run.rank == 0) now.series.add(event);
  }
  void finish(const run_summary& summary) const {
    if (now.run.rank == 0) svg::detail::write_file(path, page(summary));
  }

  // The page as text.
  std::string page(const run_summary& summary) const {
    using svg::detail::escape, svg::detail::put;
    std::string out;
    put(out, {
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width,initial-scale=1\">\n<title>", escape(title), "</title>\n", detail::report_style, svg::style,
        "</head><body>\n<h1>", escape(title), "</h1>\n<p class=\"sub\">", std::to_string(summary.steps), " steps on ",
        std::to_string(now.run.ranks), now.run.ranks == 1 ? " rank" : " ranks", summary.stopped_early ? ", stopped early" : "",
        "</p>\n", figures(summary), "<div class=\"charts\">\n"});
    for (const auto& chart : {loss_chart(), time_chart(), bytes_chart(), total_bytes_chart()})
      put(out, {"<div class=\"chart\">\n", chart, "</div>\n"});
    put(out, {"</div>\n<details open><summary>Description</summary><pre>", escape(now.run.description), "</pre></details>\n"
           "<p class=\"sub\" style=\"margin-top:14px\">Times and bytes are those of rank 0. Written by entrain " ENTRAIN_VERSION_STRING
           ".</p>\n</body></html>\n"});
    return out;
  }

 private:
  // One figure; the name is given in up to three parts.
  [[gnu::noinline]] static void figure(std::string& out, std::string_view value, std::string_view name, std::string_view more = {},
                                       std::string_view end = {}) {
    using svg::detail::escape;
    svg::detail::put(out, {"<div><b>", escape(value), "</b><span>", escape(name), escape(more), escape(end), "</span></div>\n"});
  }

  std::string figures(const run_summary& summary) const {
    detail::stretch all;
    for (const auto& s : now.series.stretches()) all.add(s);
    const double steps = double(std::max<std::uint64_t>(all.steps, 1)), mean = all.seconds / steps;
    std::string out = "<div class=\"figures\">\n";
    using svg::detail::fixed, svg::detail::short_number;
    figure(out, fixed(summary.last_loss, 4), "last loss (first ", fixed(summary.first_loss, 4), ")");
    if (all.finite > 0) figure(out, fixed(all.low, 4), "lowest loss, at step ", fixed(all.low_step, 0));
    figure(out, short_number(summary.seconds > 0 ? double(summary.count) / summary.seconds : 0), now.run.unit, " per second");
    figure(out, short_number(double(summary.count)), now.run.unit, " in all");
    figure(out, detail::duration_words(summary.seconds), "time in all");
    figure(out, detail::time_unit::of(mean).words(mean), "mean time per step");
    figure(out, fixed(all.seconds > 0 ? 100 * all.exposed / all.seconds : 0, 1) + " %", "exposed communication");
    figure(out, short_number(all.bytes / steps, "B"), "sent per step");
    figure(out, short_number(all.bytes, "B"), "sent in all");
    out += "</div>\n";
    return out;
  }

  // Raw losses as their extremes, in order of their steps, behind a mean over a fiftieth of the run around each stretch.
  std::string loss_chart() const {
    const auto& stretches = now.series.stretches();
    std::vector<double> raw_x, raw_y, mean_x, mean_y, sums{0}, counts{0};
    for (const auto& s : stretches) {
      sums.push_back(sums.back() + s.loss_sum), counts.push_back(counts.back() + double(s.finite));
      const bool low_first = s.low_step <= s.high_step;
      raw_x.push_back(s.finite ? (low_first ? s.low_step : s.high_step) : s.at());
      raw_y.push_back(s.finite ? (low_first ? s.low : s.high) : s.mean_loss());
      if (s.low_step != s.high_step) raw_x.push_back(low_first ? s.high_step : s.low_step), raw_y.push_back(low_first ? s.high : s.low);
    }
    for (std::size_t i = 0; i < stretches.size(); ++i) {
      const std::size_t reach = std::min({stretches.size() / 100, i, stretches.size() - 1 - i});  // as far back as ahead
      const double count = counts[i + reach + 1] - counts[i - reach];
      mean_x.push_back(stretches[i].at()), mean_y.push_back((sums[i + reach + 1] - sums[i - reach]) / count);
    }
    svg::line_chart chart{.title = "Loss", .x_label = "step", .y_label = "mean loss per " + singular(now.run.unit)};
    chart.add("each step", std::move(raw_x), std::move(raw_y), {.light = true, .colour = 0});
    chart.add("smoothed", std::move(mean_x), std::move(mean_y), {.colour = 0});
    return chart.write_inline();
  }

  std::string time_chart() const {
    const auto& stretches = now.series.stretches();
    std::vector<double> xs, compute, exposed, other, totals;
    for (const auto& s : stretches) totals.push_back(s.seconds / double(s.steps));
    std::vector<double> sorted = totals;
    std::sort(sorted.begin(), sorted.end());
    const double usual = sorted.empty() ? 0 : sorted[sorted.size() * 97 / 100], most = sorted.empty() ? 0 : sorted.back();
    const auto unit = detail::time_unit::of(sorted.empty() ? 0 : sorted[sorted.size() / 2]);
    for (const auto& s : stretches) {
      const double factor = unit.factor / double(s.steps);
      xs.push_back(s.at());
      compute.push_back(s.compute * factor), exposed.push_back(s.exposed * factor),
          other.push_back(std::max(0.0, s.seconds - s.compute - s.exposed) * factor);
    }
    svg::stacked_area chart{.title = "Time per step", .x_label = "step", .y_label = std::string(unit.name), .xs = std::move(xs)};
    if (usual > 0 && most > 1.6 * usual) chart.y_max = 1.25 * usual * unit.factor;  // a few slow steps must not flatten the rest
    chart.add("compute", std::move(compute)).add("exposed communication", std::move(exposed)).add("other", std::move(other));
    return chart.write_inline();
  }

  std::string bytes_chart() const {
    std::vector<double> xs, ys;
    for (const auto& s : now.series.stretches()) xs.push_back(s.at()), ys.push_back(s.bytes / double(s.steps));
    svg::line_chart chart{.title = "Sent per step", .x_label = "step", .y_label = "bytes", .y_min = 0};
    chart.add("Sent per step", std::move(xs), std::move(ys), {.colour = 2});
    return chart.write_inline();
  }

  std::string total_bytes_chart() const {
    std::vector<double> xs, ys;
    double total = 0;
    for (const auto& s : now.series.stretches()) xs.push_back(s.at()), ys.push_back(total += s.bytes);
    svg::line_chart chart{.title = "Sent in all", .x_label = "step", .y_label = "bytes", .y_min = 0};
    chart.add("Sent in all", std::move(xs), std::move(ys), {.colour = 3});
    return chart.write_inline();
  }

  static std::string singular(const std::string& unit) { return unit.ends_with('s') ? unit.substr(0, unit.size() - 1) : unit; }
};

}  // namespace entrain::monitor
