// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/monitor/detail/svg_frame.hpp>

// A small chart writer: lines, stacked areas and bars as SVG text, with a legend, round ticks, and colours for light and
// dark pages. write() makes a file of its own, write_inline() an element for an HTML page that holds svg::style once.
//
//   svg::line_chart{.title = "Loss", .x_label = "step"}.add("top-k", steps, losses).write_svg("loss.svg");
//
// NaN and infinities are gaps. Pictures show what they are given: thin out long series before (monitor/detail/series.hpp).

namespace entrain::monitor::svg {

using detail::style;

namespace detail {
inline void write_file(const std::filesystem::path& path, std::string_view words) {
  std::ofstream out(path, std::ios::binary);
  out.write(words.data(), std::streamsize(words.size()));
  out.close();
  if (!out) throw file_error(path.string(), "cannot write the file");
}
}  // namespace detail

struct line_options {
  bool light = false;  // thin and pale: raw values behind a smoothed line
  bool dashed = false;
  int colour = -1;  // index into the palette; -1 takes the next one
  bool in_legend = true;
};

// Lines y(x), one a call of add().
struct line_chart {
  std::string title = {}, x_label = {}, y_label = {};
  bool log_x = false, log_y = false;
  std::optional<double> y_min = {}, y_max = {};  // else from the values; what lies outside is cut off
  double width = 560, height = 340;              // pixels, and units of the drawing

  struct series {
    std::string name;
    std::vector<double> xs, ys;
    line_options options;
  };
  std::vector<series> lines = {};

  line_chart& add(std::string name, std::vector<double> xs, std::vector<double> ys, line_options options = {}) & {
    if (xs.size() != ys.size())
      throw usage_error("svg::line_chart", "line '" + name + "' has unequal coordinates", std::to_string(xs.size()) + " values of y",
                        std::to_string(ys.size()));
    if (options.colour < 0) options.colour = int(next_colour());
    lines.push_back({std::move(name), std::move(xs), std::move(ys), options});
    return *this;
  }
  line_chart add(std::string name, std::vector<double> xs, std::vector<double> ys, line_options options = {}) && {
    add(std::move(name), std::move(xs), std::move(ys), options);
    return std::move(*this);
  }

  std::string write() const { return draw(true); }
  std::string write_inline() const { return draw(false); }
  void write_svg(const std::filesystem::path& path) const { detail::write_file(path, write()); }

 private:
  std::size_t next_colour() const {
    int next = 0;
    for (const auto& line : lines) next = std::max(next, line.options.colour + 1);
    return std::size_t(next);
  }
  detail::range y_range() const {
    detail::range ys;
    for (const auto& line : lines)
      for (const double y : line.ys) ys.include(y, log_y);
    if (ys.empty()) return ys;
    if (log_y) ys.low *= 0.95, ys.high *= 1.05;
    else {
      const double pad = (ys.high - ys.low) * 0.04;
      ys.low = ys.low >= 0 && ys.low < 0.35 * ys.high ? 0 : ys.low - pad;  // begin at zero where it is near
      ys.high += pad;
    }
    if (y_min) ys.low = *y_min;
    if (y_max) ys.high = *y_max;
    return ys;
  }
  std::string draw(bool standalone) const {
    detail::canvas on(width, height, title, standalone);
    std::vector<detail::legend_entry> legend;
    detail::range xs;
    for (const auto& line : lines) {
      for (const double x : line.xs) xs.include(x, log_x);
      if (line.options.in_legend && !line.name.empty())
        legend.push_back({line.name, detail::colour(std::size_t(line.options.colour)), line.options.dashed, line.options.light, false});
    }
    if (legend.size() > 1 || (legend.size() == 1 && legend[0].name != title)) on.legend(legend);
    const detail::frame plot(on, width, height, xs, y_range(), log_x, log_y, x_label, y_label);
    for (const auto& line : lines) draw_line(on.out(), plot, line);
    plot.close(on);
    return on.finish();
  }
  void draw_line(std::string& out, const detail::frame& plot, const series& line) const {
    out += "<path fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\" stroke=\"";
    (out += detail::colour(std::size_t(line.options.colour))) +=
        line.options.light ? "\" stroke-width=\"1\" stroke-opacity=\"0.4\"" : "\" stroke-width=\"2\"";
    if (line.options.dashed) out += " stroke-dasharray=\"6 4\"";
    out += " d=\"";
    bool pen_down = false;
    for (std::size_t i = 0; i < line.xs.size(); ++i) {
      const bool shown = plot.x_of.shows(line.xs[i]) && plot.y_of.shows(line.ys[i]);
      if (shown) detail::put(out, {pen_down ? "L" : "M", plot.x_of(line.xs[i]), " ", plot.y_of(line.ys[i])});
      const bool alone = shown && !pen_down && (i + 1 == line.xs.size() || !plot.y_of.shows(line.ys[i + 1]));
      if (alone) out += "h0.1";  // a single point is a dot
      pen_down = shown;
    }
    out += "\"/>\n";
  }
};

// Parts that add up, over common x; the first added lies at the bottom.
struct stacked_area {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<double> xs = {};
  std::optional<double> y_max = {};
  double width = 560, height = 340;

  struct series {
    std::string name;
    std::vector<double> ys;
  };
  std::vector<series> parts = {};

  stacked_area& add(std::string name, std::vector<double> ys) & {
    if (xs.size() != ys.size())
      throw usage_error("svg::stacked_area", "part '" + name + "' has another length than xs", std::to_string(xs.size()),
                        std::to_string(ys.size()));
    parts.push_back({std::move(name), std::move(ys)});
    return *this;
  }
  stacked_area add(std::string name, std::vector<double> ys) && {
    add(std::move(name), std::move(ys));
    return std::move(*this);
  }

  std::string write() const { return draw(true); }
  std::string write_inline() const { return draw(false); }
  void write_svg(const std::filesystem::path& path) const { detail::write_file(path, write()); }

 private:
  static void append_point(std::string& out, const char* command, const detail::frame& plot, double x, double y) {
    detail::put(out, {command, plot.x_of(x), " ", plot.y_of(y)});
  }
  static double amount(double value) { return std::isfinite(value) && value > 0 ? value : 0; }
  std::string draw(bool standalone) const {
    detail::canvas on(width, height, title, standalone);
    std::vector<detail::legend_entry> legend;
    std::vector<double> base(xs.size(), 0.0);
    detail::range x_range, y_range{0, 0};
    for (const double x : xs) x_range.include(x);
    for (const auto& part : parts) {
      legend.push_back({part.name, detail::colour(legend.size()), false, false, true});
      for (std::size_t i = 0; i < xs.size(); ++i) base[i] += amount(part.ys[i]);
    }
    for (const double total : base) y_range.include(total * 1.04);
    if (y_max) y_range.high = *y_max;
    on.legend(legend);
    const detail::frame plot(on, width, height, x_range, y_range, false, false, x_label, y_label);
    std::fill(base.begin(), base.end(), 0.0);
    for (std::size_t p = 0; p < parts.size() && !xs.empty(); ++p) {
      const std::vector<double> below = base;
      std::string outline;
      for (std::size_t i = 0; i < xs.size(); ++i) {
        base[i] += amount(parts[p].ys[i]);
        append_point(outline, i ? "L" : "M", plot, xs[i], base[i]);
      }
      for (std::size_t i = xs.size(); i-- > 0;) append_point(outline, "L", plot, xs[i], below[i]);
      detail::put(on.out(), {"<path fill=\"", detail::colour(p), "\" fill-opacity=\"0.85\" d=\"", outline, "Z\"/>\n"});
    }
    plot.close(on);
    return on.finish();
  }
};

// Horizontal bars with their values, one a call of add(). With log_scale, lengths compare orders of magnitude.
struct bar_chart {
  std::string title = {};
  std::string unit = {};  // after each value
  bool log_scale = false;
  double width = 560;

  struct bar {
    std::string name;
    double value;
    std::string words;  // what stands at its end; empty: the value
  };
  std::vector<bar> bars = {};

  bar_chart& add(std::string name, double value, std::string words = {}) & {
    bars.push_back({std::move(name), value, std::move(words)});
    return *this;
  }
  bar_chart add(std::string name, double value, std::string words = {}) && {
    add(std::move(name), value, std::move(words));
    return std::move(*this);
  }

  std::string write() const { return draw(true); }
  std::string write_inline() const { return draw(false); }
  void write_svg(const std::filesystem::path& path) const { detail::write_file(path, write()); }

 private:
  std::string words_of(const bar& b) const { return b.words.empty() ? detail::short_number(b.value, unit) : b.words; }
  std::string draw(bool standalone) const {
    constexpr double row = 28;
    double names = 0, words = 0;
    detail::range values;
    for (const auto& b : bars) {
      names = std::max(names, detail::width_of(b.name));
      words = std::max(words, detail::width_of(words_of(b)));
      values.include(b.value, log_scale);
    }
    if (values.empty()) values = {0, 1};
    detail::canvas on(width, 44 + row * double(bars.size()) + 8, title, standalone);
    const double left = 16 + std::min(names, width * 0.45) + 10, right = std::max(left + 20, width - words - 26);
    const detail::scale x_of(log_scale ? values.low / 3 : 0, values.high, log_scale, left, right);
    for (std::size_t i = 0; i < bars.size(); ++i) {
      const double y = 44 + row * double(i), end = x_of.shows(bars[i].value) ? std::max(left + 1, x_of(bars[i].value)) : left;
      on.out() += detail::text(left - 10, y + 15, bars[i].name, "end", "en-ink");
      detail::put(on.out(), {"<rect x=\"", left, "\" y=\"", y, "\" width=\"", end - left, "\" height=\"20\" rx=\"3\" fill=\"",
                             detail::colour(i), "\"/>\n"});
      on.out() += detail::text(end + 8, y + 15, words_of(bars[i]), "start", "en-soft");
    }
    detail::put(on.out(), {"<path class=\"en-axis\" d=\"M", left, " 38v", row * double(bars.size()) + 4, "\"/>\n"});
    return on.finish();
  }
};

}  // namespace entrain::monitor::svg
