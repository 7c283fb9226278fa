// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// Writing JSON without a library and without a locale: strings are escaped, numbers are the shortest text that reads back
// to the same value, and NaN and infinities, which JSON lacks, become null. (Reading untrusted JSON: core/json_reader.hpp.)

namespace entrain::json {

// Length of the valid UTF-8 character at text[i], or 0: no overlong forms, no surrogates, nothing above U+10FFFF.
constexpr std::size_t utf8_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return i + k < text.size() ? unsigned(static_cast<unsigned char>(text[i + k])) : 0u; };
  const auto tail = [&](std::size_t k) { return (byte(k) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0);
  if (first < 0x80u) return 1;
  if (first >= 0xC2u && first <= 0xDFu) return tail(1) ? 2 : 0;
  if (first >= 0xE0u && first <= 0xEFu) {
    const unsigned low = first == 0xE0u ? 0xA0u : 0x80u, high = first == 0xEDu ? 0x9Fu : 0xBFu;
    return byte(1) >= low && byte(1) <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0u && first <= 0xF4u) {
    const unsigned low = first == 0xF0u ? 0x90u : 0x80u, high = first == 0xF4u ? 0x8Fu : 0xBFu;
    return byte(1) >= low && byte(1) <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// Offset of the first byte that is not UTF-8, or npos.
constexpr std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

// Appends the text as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
inline void append_quoted(std::string& out, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const char c = text[i];
    if (length == 0) out += "\xEF\xBF\xBD";
    else if (length > 1) out.append(text, i, length);
    else if (c == '"' || c == '\\') (out += '\\') += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (c == '\r') out += "\\r";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ((out += "\\u00") += digits[(c >> 4) & 15]) += digits[c & 15];
    else out += c;
    i += length == 0 ? 1 : length;
  }
  out += '"';
}

inline std::string quoted(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

template <class Number>
requires std::integral<Number> || std::floating_point<Number>
void append_number(std::string& out, Number value) {
  if constexpr (std::same_as<Number, bool>) {
    out += value ? "true" : "false";
  } else {
    if constexpr (std::floating_point<Number>)
      if (!std::isfinite(value)) {
        out += "null";
        return;
      }
    char text[64];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    out.append(text, end);
  }
}

}  // namespace entrain::json
