// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <unistd.h>

#include "catch.hpp"
#include <entrain/monitor/html_report.hpp>
#include <entrain/monitor/svg.hpp>

using namespace entrain;
using namespace entrain::monitor;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN();

// Elements are closed in order and attributes quoted: enough of XML to find a broken picture.
bool well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = text.find('<', at)) != text.npos; ++at) {
    const std::size_t end = text.find('>', at);
    if (end == text.npos) return false;
    const std::string tag = text.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" \n/", 1));
    if (tag[0] == '!' || name == "meta") continue;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0 || tag.find('<') != tag.npos) return false;
    if (tag[0] == '/') {
      if (open.empty() || open.back() != name.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
  }
  return open.empty();
}

std::size_t points_in(const std::string& text) { return std::size_t(std::count(text.begin(), text.end(), 'L')); }

std::string report(std::uint64_t steps, int rank = 0) {
  html_report sink{.path = "unused.html", .title = "A <title> & \"more\""};
  sink.start({.rank = rank, .ranks = 2, .steps = steps, .description = "model <b>\n& \x01more", .unit = "tokens"});
  for (std::uint64_t i = 0; i < steps; ++i)
    sink.step({.step = i,
               .loss = i == 123   ? 77.5
                       : i == 200 ? nan_value
                                  : 2 + 1.0 / double(i + 1),
               .count = 10,
               .seconds = 0.01,
               .exposed_seconds = 0.002,
               .compute_seconds = 0.007,
               .bytes_sent = 1'000'000});
  return sink.page({.steps = steps, .first_loss = 3, .last_loss = 2.25, .seconds = 12.5, .count = std::int64_t(10 * steps)});
}

}  // namespace

TEST_CASE("html_report: is a whole page that needs nothing else") {
  const auto page = report(500);
  CHECK(well_formed(page));
  for (const char* outside : {"http:", "https:", "<script", "<link", "<img", "url(", "@import"}) {
    auto without_namespace = page;
    for (std::size_t at; (at = without_namespace.find("http://www.w3.org/2000/svg")) != std::string::npos;) without_namespace.erase(at, 26);
    CHECK_THAT(without_namespace, !Catch::Contains(outside));
  }
  CHECK_THAT(page, Catch::Contains("A &lt;title&gt; &amp; &quot;more&quot;") && Catch::Contains("model &lt;b&gt;\n&amp; more"));
  CHECK_THAT(page, Catch::Contains("500 steps on 2 ranks") && Catch::Contains("2.2500"));
  CHECK_THAT(page, Catch::Contains("<b>400</b><span>tokens per second"));
  CHECK_THAT(page, Catch::Contains("<b>20.0 %</b><span>exposed communication"));
  CHECK_THAT(page, Catch::Contains("<b>500 MB</b><span>sent in all"));
  CHECK_THAT(page, Catch::Contains("<b>10.0 ms</b><span>mean time per step"));
  CHECK_THAT(page, Catch::Contains("viewport") && Catch::Contains("prefers-color-scheme:dark"));
  CHECK_THAT(page, !Catch::Contains("nan") && !Catch::Contains("inf\""));
}

TEST_CASE("html_report: no steps, one step and steps without time make a page") {
  CHECK(well_formed(report(0)));
  CHECK(well_formed(report(1)));
  html_report sink;
  sink.start({});
  for (std::uint64_t i = 0; i < 3; ++i) sink.step({.step = i, .loss = nan_value});
  const auto page = sink.page({.steps = 3, .first_loss = nan_value, .last_loss = nan_value});
  CHECK(well_formed(page));
  CHECK_THAT(page, !Catch::Contains("nan"));
}

TEST_CASE("html_report: long runs are thinned out, extremes and sums are kept") {
  const auto page = report(100'000);
  CHECK(well_formed(page));
  CHECK(page.size() < 400'000);
  CHECK(points_in(page) < 2000 + 1000 + 3 * 2000 + 2 * 1000);
  monitor::detail::series history;
  for (std::uint64_t i = 0; i < 123'457; ++i)
    history.add({.step = i, .loss = i == 77'777 ? 99.0 : i == 5 ? -3.0 : 1.0, .count = 1, .seconds = 0.5, .bytes_sent = 2});
  CHECK(history.stretches().size() <= monitor::detail::series::buckets);
  CHECK(history.stretches().size() > monitor::detail::series::buckets / 2 - 1);
  monitor::detail::stretch all;
  double last = -1;
  for (const auto& s : history.stretches()) {
    CHECK(s.at() > last);
    last = s.at();
    all.add(s);
  }
  CHECK(all.steps == 123'457);
  CHECK(all.bytes == 2 * 123'457.0);
  CHECK((all.high == 99 && all.high_step == 77'777 && all.low == -3 && all.low_step == 5));
}

TEST_CASE("html_report: rank 0 writes the file") {
  const auto path = std::filesystem::temp_directory_path() / ("entrain_report_" + std::to_string(::getpid()) + ".html");
  for (const int rank : {1, 0}) {
    html_report sink{.path = path.string()};
    sink.start({.rank = rank, .ranks = 2, .steps = 1, .description = ""});
    sink.step({.loss = 1});
    sink.finish({.steps = 1});
    CHECK(std::filesystem::exists(path) == (rank == 0));
  }
  std::filesystem::remove(path);
  html_report sink{.path = "/nonexistent/report.html"};
  sink.start({});
  CHECK_THROWS_AS(sink.finish({}), file_error);
}

TEST_CASE("svg: ticks are round and cover the range") {
  using svg::detail::scale;
  const auto labels = [](const scale& s, double count) {
    std::string out;
    for (const auto& tick : s.ticks(count)) out += tick.label + " ";
    return out;
  };
  CHECK(labels(scale(0, 1, false, 0, 100), 5) == "0 0.2 0.4 0.6 0.8 1.0 ");
  CHECK(labels(scale(-30, 70, false, 0, 100), 5) == "-20 0 20 40 60 ");
  CHECK(labels(scale(0, 20'000, false, 0, 100), 4) == "0 5k 10k 15k 20k ");
  CHECK(labels(scale(1.5e6, 2.5e6, false, 0, 100), 4) == "1.5M 2.0M 2.5M ");
  CHECK(labels(scale(0, 2e-6, false, 0, 100), 2) == "0 1e-06 2e-06 ");
  CHECK(labels(scale(10, 1e6, true, 0, 100), 6) == "10 100 1k 10k 100k 1M ");
  CHECK(labels(scale(0.01, 1e8, true, 0, 100), 4) == "1 1k 1M ");
  CHECK(labels(scale(1, 30, true, 0, 100), 6) == "1 2 5 10 20 ");
  CHECK(scale(0, 10, false, 0, 100)(5) == Approx(50));
  CHECK(scale(1, 100, true, 0, 100)(10) == Approx(50));
  CHECK(svg::detail::short_number(3'401'234, "B") == "3.40 MB");
  CHECK(svg::detail::short_number(999) == "999");
  CHECK(svg::detail::short_number(0, "B") == "0 B");
}

TEST_CASE("svg: charts are well formed whatever they are given") {
  const std::vector<double> xs{0, 1, 2, 3}, ys{1, nan_value, -5, 1e300}, same{2, 2, 2, 2};
  for (const bool log : {false, true}) {
    svg::line_chart chart{.title = "a < b", .x_label = "x & y", .y_label = "\"z\"", .log_x = log, .log_y = log};
    CHECK(well_formed(chart.write()));
    chart.add("one <>", xs, ys)
        .add("two", xs, same, {.dashed = true})
        .add("none", {}, {})
        .add("dot", {1}, {1})
        .add("lost", xs, {nan_value, nan_value, nan_value, nan_value});
    CHECK(well_formed(chart.write()));
    CHECK_THAT(chart.write(), !Catch::Contains("nan") && !Catch::Contains("inf") && Catch::Contains("one &lt;&gt;"));
    CHECK(well_formed(svg::bar_chart{.title = "bars", .unit = "B", .log_scale = log}
                          .add("a", 0)
                          .add("b", 1e9)
                          .add("c", nan_value)
                          .add("d", 5, "five")
                          .write()));
    CHECK(well_formed(svg::bar_chart{.title = "bars", .log_scale = log}.write()));
  }
  CHECK(well_formed(svg::stacked_area{.title = "t", .xs = xs}.add("a", ys).add("b", same).write()));
  CHECK(well_formed(svg::stacked_area{.title = "t"}.add("a", {}).write()));
  CHECK_THROWS_AS((svg::line_chart{.title = "t"}.add("a", {1, 2}, {1})), usage_error);
  CHECK_THROWS_AS((svg::stacked_area{.title = "t"}.add("a", {1})), usage_error);
  CHECK_THAT(svg::line_chart{.title = "t"}.write_inline(), !Catch::Contains("<style"));
}
