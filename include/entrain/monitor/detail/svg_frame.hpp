// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What the charts of monitor/svg.hpp share: numbers and text as SVG, scales with round ticks, and the frame around a plot.

namespace entrain::monitor::svg::detail {

// Colours that keep their distance from each other, from white and from black, also for colour-blind eyes.
inline constexpr std::array<std::string_view, 8> palette{"#3b82f6", "#f08c2e", "#2fa36b", "#a56de2",
                                                         "#e5567a", "#12a5b5", "#a88526", "#7d8590"};
inline std::string_view colour(std::size_t i) { return palette[i % palette.size()]; }

inline constexpr std::string_view style =
    "<style>.en-ink{fill:#1f2328}.en-soft{fill:#59636e}.en-grid{stroke:#d8dee4}.en-axis{stroke:#818b98}.en-back{fill:#fff}"
    "@media(prefers-color-scheme:dark){.en-ink{fill:#e6edf3}.en-soft{fill:#9aa4ae}.en-grid{stroke:#30363d}.en-axis{stroke:#6e7681}.en-back{"
    "fill:#0d1117}}</style>";

// Text for XML: markup is escaped, control characters (which XML forbids) are dropped.
[[gnu::noinline]] inline std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  return out;
}

// With so many decimals, whatever the locale.
[[gnu::noinline]] inline std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  char text[400];
  std::string out(text, std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, decimals).ptr);
  return out.find_first_not_of("-0.") == out.npos && out[0] == '-' ? out.substr(1) : out;
}

// A coordinate: a tenth of a pixel is enough.
[[gnu::noinline]] inline std::string px(double value) {
  std::string out = fixed(std::clamp(value, -1e5, 1e5), 1);
  return out.ends_with(".0") ? out.substr(0, out.size() - 2) : out;
}

// A piece of a picture's source: words as they are, or a coordinate.
struct piece {
  std::string_view words;
  double coordinate = 0;
  bool is_coordinate = false;
  piece(std::string_view w) : words(w) {}
  piece(const std::string& w) : words(w) {}
  piece(const char* w) : words(w) {}
  piece(double at) : coordinate(at), is_coordinate(true) {}
};

// Appends the pieces. One function out of line, where chains of operator+ would each be compiled into every program.
[[gnu::noinline]] inline void put(std::string& out, std::initializer_list<piece> pieces) {
  for (const auto& p : pieces) {
    if (p.is_coordinate) out += px(p.coordinate);
    else out += p.words;
  }
}

// Estimated width of a text, for layout without a font.
inline double width_of(std::string_view text, double size = 13) {
  double glyphs = 0;
  for (const char c : text) glyphs += (static_cast<unsigned char>(c) & 0xC0u) == 0x80u ? 0 : 1;
  return glyphs * size * 0.56;
}

[[gnu::noinline]] inline std::string text(double x, double y, std::string_view words, std::string_view anchor = "start", std::string_view kind = "en-soft",
                        std::string_view more = "") {
  std::string out;
  put(out, {"<text x=\"", x, "\" y=\"", y, "\" class=\"", kind, "\" text-anchor=\"", anchor, "\"", more, ">", escape(words), "</text>\n"});
  return out;
}

// 12000 -> "12k", 0.25 -> "0.25": as many decimals as `step` needs, SI prefixes from ten thousand on, powers below 1e-4.
// `unit` stands behind the prefix ("1.2 MB").
[[gnu::noinline]] inline std::string label(double value, double step, double largest, double prefix_from = 10'000, std::string_view unit = {}) {
  const auto with_unit = [&](std::string number, std::string_view prefix) {
    return unit.empty() ? number.append(prefix) : number.append(" ").append(prefix).append(unit);
  };
  if (value == 0) return with_unit("0", "");
  constexpr std::string_view prefixes = " kMGTPE";
  if (largest < 1e-4 || largest >= 1e21) {
    char out[64];
    return with_unit(
        {out, std::to_chars(out, out + sizeof out, value, std::chars_format::scientific, std::abs(step / value) < 0.1 ? 1 : 0).ptr}, "");
  }
  std::size_t prefix = 0;
  if (largest >= prefix_from)
    for (; largest >= 1000 && prefix < 6; largest /= 1000, value /= 1000, step /= 1000) ++prefix;
  const int decimals = std::clamp(int(std::ceil(-std::log10(step) - 1e-9)), 0, 8);
  return with_unit(fixed(value, decimals), prefixes.substr(prefix, prefix ? 1 : 0));
}

// Three digits: 3401234 -> "3.40M", with the unit "B" "3.40 MB".
[[gnu::noinline]] inline std::string short_number(double value, std::string_view unit = {}) {
  if (!std::isfinite(value)) return "-";
  const double size = std::abs(value);
  return label(value, size > 0 ? std::pow(10.0, std::floor(std::log10(size)) - 2) : 1, size, 1000, unit);
}

// 1, 2 or 5 times a power of ten, so that about `count` steps cover the range.
inline double nice_step(double range, double count) {
  const double raw = range / count, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power * 1.0001) return factor * power;
  return 10 * power;
}

struct tick {
  double value;
  std::string label;
};

// Maps values to pixels, on a linear or a logarithmic scale.
class scale {
 public:
  scale() = default;
  scale(double low, double high, bool logarithmic, double from, double to)
      : low_(low), high_(high), log_(logarithmic), from_(from), to_(to) {
    if (log_ && !(low_ > 0)) low_ = high_ > 0 ? high_ / 1e6 : 0.1;
    if (!(high_ > low_)) {
      const double pad = low_ == 0 ? 1 : std::abs(low_) * 0.1;
      if (log_) low_ /= 2, high_ = low_ * 4;
      else low_ -= pad, high_ = low_ + 2 * pad;
    }
  }
  double low() const { return low_; }
  double operator()(double value) const {
    const double at = log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_ + at * (to_ - from_);
  }
  bool shows(double value) const { return std::isfinite(value) && (!log_ || value > 0); }

  [[gnu::noinline]] std::vector<tick> ticks(double count) const {
    std::vector<tick> out;
    if (log_) out = log_ticks(count);
    if (out.size() >= 2) return out;
    out.clear();
    const double step = nice_step(high_ - low_, count), largest = std::max(std::abs(low_), std::abs(high_));
    for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + step * 1e-9; ++i)
      out.push_back({i * step, label(i * step, step, largest)});
    return out;
  }

 private:
  std::vector<tick> log_ticks(double count) const {
    std::vector<tick> out;
    const double decades = std::log10(high_ / low_);
    const int stride = std::max(1, int(std::ceil(decades / count)));
    for (int power = int(std::floor(std::log10(low_))); power <= int(std::ceil(std::log10(high_))); ++power) {
      if (stride > 1 && power % stride != 0) continue;
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = factor * std::pow(10.0, power);
        if ((factor > 1 && decades > count / 3) || value < low_ * 0.9999 || value > high_ * 1.0001) continue;
        out.push_back({value, label(value, value, value, 1000)});
      }
    }
    return out;
  }
  double low_ = 0, high_ = 1;
  bool log_ = false;
  double from_ = 0, to_ = 1;
};

struct range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void include(double value, bool logarithmic = false) {
    if (!std::isfinite(value) || (logarithmic && value <= 0)) return;
    low = std::min(low, value), high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

struct legend_entry {
  std::string name;
  std::string_view colour;
  bool dashed = false, light = false, area = false;
};

// A picture being drawn: the outer element, then title and legend from top to bottom, then what the chart draws.
class canvas {
 public:
  canvas(double width, double height, std::string_view title, bool standalone) : width_(width) {
    put(out_, {"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ", height,
               "\" role=\"img\" font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif\" font-size=\"13\""});
    if (standalone) put(out_, {" width=\"", width, "\" height=\"", height, "\""});
    put(out_, {">\n<title>", escape(title), "</title>\n"});
    if (standalone) put(out_, {style, "\n<rect class=\"en-back\" width=\"100%\" height=\"100%\"/>\n"});
    out_ += text(16, y_, title, "start", "en-ink", " font-size=\"15\" font-weight=\"600\"");
  }

  void legend(const std::vector<legend_entry>& entries) {
    if (entries.empty()) return;
    double x = 16;
    y_ += 22;
    for (const auto& entry : entries) {
      const double width = 24 + width_of(entry.name) + 16;
      if (x > 16 && x + width > width_) x = 16, y_ += 18;
      if (entry.area)
        put(out_, {"<rect x=\"", x + 3, "\" y=\"", y_ - 10, "\" width=\"12\" height=\"12\" rx=\"2\" fill=\"", entry.colour,
                   "\" fill-opacity=\"0.85\"/>\n"});
      else
        put(out_, {"<path d=\"M", x, " ", y_ - 4, "h18\" stroke=\"", entry.colour, "\" stroke-width=\"",
                   entry.light ? "1.5\" stroke-opacity=\"0.4" : "2.5", "\"", entry.dashed ? " stroke-dasharray=\"5 3\"" : "", "/>\n"});
      out_ += text(x + 24, y_, entry.name, "start", "en-ink");
      x += width;
    }
  }

  // Lower edge of what has been drawn.
  double y() const { return y_; }
  std::string& out() { return out_; }
  std::string finish() { return std::move(out_ += "</svg>\n"); }

 private:
  double width_, y_ = 24;
  std::string out_;
};

// Axes with grid and labels; x_of and y_of map values to pixels.
struct frame {
  double left, top, right, bottom;
  scale x_of, y_of;

  frame(canvas& on, double width, double height, range xs, range ys, bool log_x, bool log_y, const std::string& x_label,
        const std::string& y_label) {
    if (xs.empty()) xs = {0, 1};
    if (ys.empty()) ys = {log_y ? 0.1 : 0, 1};
    top = on.y() + (y_label.empty() ? 14 : 34);
    bottom = height - (x_label.empty() ? 30 : 48);
    y_of = scale(ys.low, ys.high, log_y, bottom, top);
    const auto y_ticks = y_of.ticks(std::max(2.0, (bottom - top) / 42));
    double widest = 0;
    for (const auto& mark : y_ticks) widest = std::max(widest, width_of(mark.label));
    left = 16 + widest + 8, right = width - 20;
    x_of = scale(xs.low, xs.high, log_x, left, right);
    auto& out = on.out();
    if (!y_label.empty()) out += text(16, top - 14, y_label);
    for (const auto& mark : y_ticks) {
      const double y = y_of(mark.value);
      put(out, {"<path class=\"en-grid\" d=\"M", left, " ", y, "H", right, "\"/>\n", text(left - 8, y + 4.5, mark.label, "end")});
    }
    for (const auto& mark : x_of.ticks((right - left) / 80)) {
      const double x = x_of(mark.value), half = width_of(mark.label) / 2;
      put(out, {"<path class=\"en-axis\" d=\"M", x, " ", bottom, "v5\"/>\n",
                text(std::min(x, width - 4 - half), bottom + 19, mark.label, "middle")});
    }
    put(out, {"<path class=\"en-axis\" d=\"M", left, " ", bottom, "H", right, "\"/>\n"});
    if (!x_label.empty()) out += text((left + right) / 2, height - 10, x_label, "middle");
    // A nested picture cuts off what lies outside of the plot.
    put(out, {"<svg x=\"", left, "\" y=\"", top - 2, "\" width=\"", right - left + 2, "\" height=\"", bottom - top + 4, "\" viewBox=\"",
              left, " ", top - 2, " ", right - left + 2, " ", bottom - top + 4, "\">\n"});
  }
  void close(canvas& on) const { on.out() += "</svg>\n"; }
};

}  // namespace entrain::monitor::svg::detail
