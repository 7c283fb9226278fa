// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <entrain/core/error.hpp>
#include <entrain/core/json_text.hpp>

// A strict JSON reader for bytes that nobody vouches for. The caller asks for the value that should come next, so nothing
// is built that he did not ask for, and whatever else stands there is an error that names the file, the offset, what was
// expected and what was found. Rejected, where common readers look away: duplicate keys, nesting beyond a limit, text
// that is not UTF-8, lone surrogates, numbers out of range, trailing bytes.
//
//   json::reader in(text, "model.safetensors", 8);
//   in.object([&](const std::string& key) { if (key == "size") size = in.unsigned_integer(); else in.skip(); });
//   in.end();

namespace entrain::json {

class reader {
 public:
  // `where` is the file's name and `base` the offset of the text in it, both for messages. The text must outlive the reader.
  reader(std::string_view text, std::string where, std::uint64_t base = 0, int max_depth = 16)
      : text_(text), where_(std::move(where)), base_(base), max_depth_(max_depth) {
    if (const auto bad = find_invalid_utf8(text_); bad != std::string_view::npos) {
      at_ = bad;
      fail("text that is not UTF-8", "UTF-8", "byte " + std::to_string(int(static_cast<unsigned char>(text_[bad]))));
    }
  }

  // Calls member(key) for every member; member must read exactly the one value that follows.
  template <class Member> void object(Member&& member) {
    enter('{', "an object");
    std::unordered_set<std::string> seen;
    for (bool open = !closes('}'); open; open = more('}')) {
      space();
      const std::size_t start = at_;
      const auto [key, fresh] = seen.insert(string());
      if (!fresh) {
        at_ = start;
        fail("a key appears twice", "unique keys", "'" + *key + "' again");
      }
      expect(':');
      member(*key);
    }
    --depth_;
  }

  // Calls item() for every element; item must read exactly one value.
  template <class Item> void array(Item&& item) {
    enter('[', "an array");
    for (bool open = !closes(']'); open; open = more(']')) item();
    --depth_;
  }

  std::string string() {
    space();
    if (peek() != '"') unexpected("a string");
    ++at_;
    std::string out;
    while (true) {
      const std::size_t start = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && static_cast<unsigned char>(text_[at_]) >= 0x20) ++at_;
      out.append(text_, start, at_ - start);
      if (at_ == text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) unexpected("the end of a string");
      if (text_[at_++] == '"') return out;
      escape(out);
    }
  }

  // A whole number in [0, 2^64), written without sign, fraction or exponent.
  std::uint64_t unsigned_integer() {
    space();
    const std::size_t start = at_;
    while (digit()) ++at_;
    const std::string_view digits = text_.substr(start, at_ - start);
    std::uint64_t value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool plain = !digits.empty() && (digits.size() == 1 || digits[0] != '0') && peek() != '.' && peek() != 'e' && peek() != 'E';
    if (!plain || parsed.ec != std::errc{}) {
      at_ = start;
      unexpected("a whole number below 2^64");
    }
    return value;
  }

  double number() {
    space();
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const std::size_t whole = digits();
    bool good = whole > 0 && !(zero && whole > 1);
    if (peek() == '.') ++at_, good = digits() > 0 && good;
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      good = digits() > 0 && good;
    }
    double value = 0;
    if (good) good = std::from_chars(text_.data() + start, text_.data() + at_, value).ec == std::errc{};
    if (!good) {
      at_ = start;
      unexpected("a number");
    }
    return value;
  }

  bool boolean() {
    space();
    if (literal("true")) return true;
    if (literal("false")) return false;
    unexpected("true or false");
  }

  // True, and past it, when the next value is null.
  bool null() {
    space();
    return literal("null");
  }

  // First character of the next value, or 0 at the end; '"' a string, '{' an object, '[' an array, else a scalar.
  char next() {
    space();
    return peek();
  }

  // Reads over one value of any kind, checking it all the same.
  void skip() {
    switch (next()) {
      case '{':
        object([this](const std::string&) { skip(); });
        break;
      case '[':
        array([this] { skip(); });
        break;
      case '"':
        string();
        break;
      case 't':
      case 'f':
        boolean();
        break;
      case 'n':
        if (!null()) unexpected("a value");
        break;
      default:
        number();
    }
  }

  // Nothing but white space may follow.
  void end() {
    space();
    if (at_ != text_.size()) unexpected("the end of the text");
  }

  std::uint64_t offset() const { return base_ + at_; }

  [[noreturn]] void fail(const std::string& wrong, std::string expected, std::string found) const {
    throw file_error(where_ + ":" + std::to_string(offset()), wrong, std::move(expected), std::move(found));
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool digit() const { return peek() >= '0' && peek() <= '9'; }
  std::size_t digits() {
    const std::size_t start = at_;
    while (digit()) ++at_;
    return at_ - start;
  }
  void space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r') ++at_;
  }
  bool literal(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void expect(char c) {
    space();
    if (peek() != c || at_ == text_.size()) unexpected(std::string("'") + c + "'");
    ++at_;
  }
  void enter(char c, const char* kind) {
    space();
    if (peek() != c) unexpected(kind);
    if (++depth_ > max_depth_) fail("nested too deeply", "at most " + std::to_string(max_depth_) + " levels", "one more");
    ++at_;
  }
  bool closes(char c) {
    space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool more(char close) {
    if (closes(close)) return false;
    expect(',');
    return true;
  }

  void escape(std::string& out) {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    if (const auto i = names.find(peek()); at_ < text_.size() && i != std::string_view::npos) {
      out += values[i];
      ++at_;
      return;
    }
    if (peek() != 'u') unexpected("an escape");
    ++at_;
    std::uint32_t code = hex4();
    if (code >= 0xDC00u && code <= 0xDFFFu) unexpected("a high surrogate before a low one");
    if (code >= 0xD800u && code <= 0xDBFFu) {
      if (!literal("\\u")) unexpected("a low surrogate after a high one");
      const std::uint32_t low = hex4();
      if (low < 0xDC00u || low > 0xDFFFu) unexpected("a low surrogate after a high one");
      code = 0x10000u + ((code - 0xD800u) << 10) + (low - 0xDC00u);
    }
    append_utf8(out, code);
  }
  std::uint32_t hex4() {
    std::uint32_t code = 0;
    const char* start = text_.data() + at_;
    if (text_.size() - at_ < 4 || std::from_chars(start, start + 4, code, 16).ptr != start + 4) unexpected("four hexadecimal digits");
    at_ += 4;
    return code;
  }
  static void append_utf8(std::string& out, std::uint32_t code) {
    const auto tail = [&](int shift) { out += char(0x80u | ((code >> shift) & 0x3Fu)); };
    if (code < 0x80u) out += char(code);
    else if (code < 0x800u) out += char(0xC0u | (code >> 6)), tail(0);
    else if (code < 0x10000u) out += char(0xE0u | (code >> 12)), tail(6), tail(0);
    else out += char(0xF0u | (code >> 18)), tail(12), tail(6), tail(0);
  }

  [[noreturn]] void unexpected(std::string expected) const {
    std::string found = at_ < text_.size() ? quoted(text_.substr(at_, 12)) : "the end of the text";
    fail("not the JSON that should stand here", std::move(expected), std::move(found));
  }

  std::string_view text_;
  std::string where_;
  std::uint64_t base_;
  std::size_t at_ = 0;
  int depth_ = 0, max_depth_;
};

}  // namespace entrain::json
