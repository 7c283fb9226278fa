// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <entrain/data/detail/csv_table.hpp>
#include <entrain/data/detail/source.hpp>
#include <entrain/data/memory.hpp>

// Tables of numbers in CSV (RFC 4180: quoted fields, doubled quotes, either line end), plain or gzip.
//
//   auto iris = data::csv_labelled("iris.csv", {.label = "species", .label_names = true});
//   auto homes = data::csv_regression("homes.csv", {.targets = {"price"}});
//
// Numbers are read without regard to the locale ("." is the decimal point) and must be finite. Empty lines are skipped;
// every row must have as many fields as the first. Errors name the file, the byte offset and the line.

namespace entrain::data {

// A column by its name in the header or by its number from 0; negative numbers count from the last column (-1).
struct csv_column {
  std::string name;
  int number = -1;
  csv_column(const char* column_name) : name(column_name) {}
  csv_column(std::string column_name) : name(std::move(column_name)) {}
  csv_column(int column_number) : number(column_number) {}
};

struct csv_labelled_options {
  csv_column label = -1;
  bool label_names = false;  // labels are text: classes are numbered in the sorted order of their names
  bool header = true;        // the first row holds names
  char separator = ',';
  read_limits limits = {};
};

struct csv_regression_options {
  std::vector<csv_column> targets = {-1};
  bool header = true;
  char separator = ',';
  read_limits limits = {};
};

namespace detail {

inline std::size_t find_column(const csv_table& table, const csv_column& column) {
  if (!column.name.empty()) {
    const auto at = std::find(table.names.begin(), table.names.end(), column.name);
    if (at != table.names.end()) return std::size_t(at - table.names.begin());
    std::string names;
    for (const auto& n : table.names) names += (names.empty() ? "" : ", ") + n;
    throw file_error(table.file, "there is no such column", "a column named '" + column.name + "'", names.empty() ? "no header" : names);
  }
  const auto number = column.number < 0 ? std::int64_t(table.columns) + column.number : std::int64_t(column.number);
  if (number < 0 || number >= std::int64_t(table.columns))
    throw file_error(table.file, "there is no such column", text("column ", column.number), text(table.columns, " columns"));
  return std::size_t(number);
}

inline float csv_number(const csv_table& table, const csv_field& field) {
  std::string_view t = field.text;
  while (!t.empty() && (t.front() == ' ' || t.front() == '\t')) t.remove_prefix(1);
  while (!t.empty() && (t.back() == ' ' || t.back() == '\t')) t.remove_suffix(1);
  if (t.size() > 1 && t.front() == '+' && t[1] != '-') t.remove_prefix(1);
  double value = 0;
  const auto result = std::from_chars(t.data(), t.data() + t.size(), value);
  // std::from_chars cannot tell too large from too small; what is too small for a double is zero for us
  const bool tiny = result.ec == std::errc::result_out_of_range && (t.find("e-") != t.npos || t.find("E-") != t.npos);
  if (tiny) value = 0;
  if (t.empty() || result.ptr != t.data() + t.size() || (result.ec != std::errc{} && !tiny) ||
      !(std::abs(value) <= double(std::numeric_limits<float>::max())))
    throw table.bad(field, "this is no number that fits a float", "a finite number");
  return float(value);
}

inline std::int32_t csv_label(const csv_table& table, const csv_field& field) {
  const float value = csv_number(table, field);
  if (value < 0 || value != std::floor(value) || value > 16777215.0f)
    throw table.bad(field, "this is no class label", "a whole number from 0 (or label_names)");
  return std::int32_t(value);
}

inline labelled_samples make_csv_labelled(source in, const csv_labelled_options& options) {
  const auto table = parse_csv(std::move(in), options.header, options.separator);
  const auto label = find_column(table, options.label);
  std::vector<std::string> names;
  if (options.label_names) {
    for (std::size_t r = 0; r < table.rows(); ++r) names.emplace_back(table.at(r, label).text);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
  }
  std::vector<float> features;
  std::vector<std::int32_t> labels;
  features.reserve(table.fields.size() - table.rows());
  for (std::size_t r = 0; r < table.rows(); ++r)
    for (std::size_t c = 0; c < table.columns; ++c) {
      const auto& field = table.at(r, c);
      if (c != label) features.push_back(csv_number(table, field));
      else if (options.label_names)
        labels.push_back(std::int32_t(std::lower_bound(names.begin(), names.end(), field.text) - names.begin()));
      else labels.push_back(csv_label(table, field));
    }
  return labelled_samples(std::move(features), std::move(labels), std::move(names));
}

inline regression_samples make_csv_regression(source in, const csv_regression_options& options) {
  const auto table = parse_csv(std::move(in), options.header, options.separator);
  std::vector<std::size_t> columns;
  for (const auto& t : options.targets) columns.push_back(find_column(table, t));
  std::vector<float> features, targets;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    for (std::size_t c = 0; c < table.columns; ++c)
      if (std::find(columns.begin(), columns.end(), c) == columns.end()) features.push_back(csv_number(table, table.at(r, c)));
    for (const auto c : columns) targets.push_back(csv_number(table, table.at(r, c)));
  }
  return regression_samples(std::move(features), std::move(targets), table.rows());
}

}  // namespace detail

// Every column but the label is a feature.
inline labelled_samples csv_labelled(const std::filesystem::path& file, const csv_labelled_options& options = {}) {
  return detail::make_csv_labelled(detail::source(file, options.limits), options);
}

// Every column that is no target is a feature; targets come in the order in which they are named.
inline regression_samples csv_regression(const std::filesystem::path& file, const csv_regression_options& options = {}) {
  return detail::make_csv_regression(detail::source(file, options.limits), options);
}

}  // namespace entrain::data
