// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/data/detail/source.hpp>

// A CSV file cut into fields; what they mean is data/csv.hpp's business. Fields point into the text, quoted fields are
// unquoted in place (they only shrink), so a table costs its file plus 32 bytes a field.

namespace entrain::data::detail {

struct csv_field {
  std::string_view text;
  std::uint64_t offset = 0;  // in the file
};

struct csv_table {
  std::string file;
  std::vector<char> content;
  std::vector<std::string> names;
  std::size_t columns = 0;
  std::vector<csv_field> fields;  // rows x columns

  std::size_t rows() const { return columns ? fields.size() / columns : 0; }
  const csv_field& at(std::size_t row, std::size_t column) const { return fields[row * columns + column]; }
  file_error bad(const csv_field& field, const char* wrong, const char* expected) const {
    const auto shown = field.text.substr(0, 40);
    return {entrain::detail::text(file, ':', field.offset),
            entrain::detail::text(wrong, " (data row ", std::size_t(&field - fields.data()) / columns + 1, ", column ",
                                  std::size_t(&field - fields.data()) % columns + 1, ")"),
            expected, "'" + std::string(shown) + "'"};
  }
};

// Walks over the text once.
class csv_reader {
 public:
  csv_reader(csv_table& table, char separator)
      : table_(table), begin_(table.content.data()), at_(begin_), end_(begin_ + table.content.size()), separator_(separator) {
    if (end_ - at_ >= 3 && at_[0] == '\xef' && at_[1] == '\xbb' && at_[2] == '\xbf') at_ += 3;  // a byte order mark
  }

  // The next row that is not empty; false at the end.
  bool next_row(std::vector<csv_field>& row) {
    while (at_ < end_ && (*at_ == '\n' || *at_ == '\r')) end_of_line();
    row.clear();
    if (at_ >= end_) return false;
    for (;;) {
      row.push_back(*at_ == '"' ? quoted() : plain());  // here at_ < end_
      if (at_ < end_ && *at_ == separator_) {
        ++at_;
        if (at_ == end_) {  // the line ends with a separator: one more, empty field
          row.push_back({{}, offset(at_)});
          return true;
        }
        continue;
      }
      if (at_ < end_) end_of_line();
      return true;
    }
  }

 private:
  std::uint64_t offset(const char* p) const { return std::uint64_t(p - begin_); }
  [[noreturn]] void fail(const char* p, const char* wrong, const char* expected, std::string found) const {
    throw file_error(entrain::detail::text(table_.file, ':', offset(p)), entrain::detail::text(wrong, " (line ", line_, ")"), expected,
                     std::move(found));
  }
  void end_of_line() {
    if (*at_ == '\r' && at_ + 1 < end_ && at_[1] == '\n') ++at_;
    ++at_;
    ++line_;
  }
  csv_field plain() {
    const char* first = at_;
    while (at_ < end_ && *at_ != separator_ && *at_ != '\n' && *at_ != '\r') ++at_;
    return {{first, std::size_t(at_ - first)}, offset(first)};
  }
  csv_field quoted() {
    char* const opening = at_++;
    char* out = opening;
    const auto opening_line = line_;
    for (;; ++at_) {
      if (at_ == end_) line_ = opening_line, fail(opening, "a quoted field is not closed", "a closing quote", "the end of the file");
      if (*at_ == '"') {
        if (at_ + 1 < end_ && at_[1] == '"') ++at_;
        else break;
      }
      if (*at_ == '\n') ++line_;
      *out++ = *at_;
    }
    ++at_;
    if (at_ < end_ && *at_ != separator_ && *at_ != '\n' && *at_ != '\r')
      fail(at_, "text follows a closing quote", "a separator or the end of the line", std::string(1, *at_));
    return {{opening, std::size_t(out - opening)}, offset(opening)};
  }

  csv_table& table_;
  char *begin_, *at_, *end_;
  char separator_;
  std::size_t line_ = 1;
};

inline csv_table parse_csv(source in, bool header, char separator) {
  csv_table table;
  table.file = in.name();
  const auto text_read = in.read_text();
  table.content.assign(text_read.begin(), text_read.end());
  csv_reader reader(table, separator);
  std::vector<csv_field> row;
  if (header && reader.next_row(row)) {
    table.columns = row.size();
    for (const auto& field : row) table.names.emplace_back(field.text);
  }
  while (reader.next_row(row)) {
    if (table.columns == 0) table.columns = row.size();
    if (row.size() != table.columns)
      throw file_error(text(table.file, ':', row[0].offset),
                       text("data row ", table.rows() + 1, " has another number of fields than the first row"),
                       text(table.columns, " fields"), text(row.size()));
    table.fields.insert(table.fields.end(), row.begin(), row.end());
  }
  if (table.fields.empty())
    throw file_error(text(table.file, ":", table.content.size()), "the table holds no rows", "at least one row of data", "none");
  return table;
}

}  // namespace entrain::data::detail
