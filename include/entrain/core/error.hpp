// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

// Run-time errors. Every error of the library says where it happened, what is wrong, what was expected and what was
// found; the parts are kept apart so that a program can act on them, and joined by what() for a person.

namespace entrain {

class error : public std::runtime_error {
 public:
  error(std::string where, std::string what_is_wrong, std::string expected = {}, std::string found = {})
      : std::runtime_error(join(where, what_is_wrong, expected, found)),
        where_(std::move(where)),
        expected_(std::move(expected)),
        found_(std::move(found)) {}

  const std::string& where() const noexcept { return where_; }
  const std::string& expected() const noexcept { return expected_; }
  const std::string& found() const noexcept { return found_; }

 private:
  static std::string join(const std::string& where, const std::string& wrong, const std::string& expected, const std::string& found) {
    std::string text = where + ": " + wrong;
    if (!expected.empty()) text += "; expected " + expected;
    if (!found.empty()) text += (expected.empty() ? "; found " : ", found ") + found;
    return text;
  }
  std::string where_, expected_, found_;
};

// Bad bytes in a file: where() is the path and, after a colon, the byte offset where known.
class file_error : public error {
 public:
  using error::error;
};

// Ranks that disagree, are missing, or have failed.
class communication_error : public error {
 public:
  using error::error;
};

// A policy or a call that was given values that cannot work.
class usage_error : public error {
 public:
  using error::error;
};

namespace detail {
// "a", 3, "b" -> "a3b"; for building messages off the hot path.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}
}  // namespace detail

}  // namespace entrain
