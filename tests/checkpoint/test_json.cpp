// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include <entrain/checkpoint/json.hpp>

namespace json = entrain::json;

namespace {
void check(std::string_view text, int depth = 3) {
  json::reader in(text, "file", 0, depth);
  in.skip();
  in.end();
}
std::string read_string(std::string_view text) {
  json::reader in(text, "file");
  std::string out = in.string();
  in.end();
  return out;
}
double read_number(std::string_view text) {
  json::reader in(text, "file");
  const double value = in.number();
  in.end();
  return value;
}
}  // namespace

TEST_CASE("json: values are read as they are written") {
  std::string name;
  std::vector<std::uint64_t> numbers;
  bool flag = false;
  const std::string text = R"( {"name" : "a\n\u00e9\ud83d\ude00\/", "numbers":[0, 18446744073709551615] ,"flag":true,"nothing":null} )";
  json::reader in(text, "file");
  in.object([&](const std::string& key) {
    if (key == "name") name = in.string();
    else if (key == "numbers") in.array([&] { numbers.push_back(in.unsigned_integer()); });
    else if (key == "flag") flag = in.boolean();
    else CHECK(in.null());
  });
  in.end();
  CHECK(name == "a\n\xC3\xA9\xF0\x9F\x98\x80/");
  CHECK(numbers == std::vector<std::uint64_t>{0, std::numeric_limits<std::uint64_t>::max()});
  CHECK(flag);
  CHECK(read_number("-12.5e-1") == -1.25);
  CHECK(read_number("0") == 0);
}

TEST_CASE("json: what is not JSON is refused") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "}",
                           "{}}",
                           "{} x",
                           "[1,]",
                           "[,1]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "[1 2]",
                           "tru",
                           "nul",
                           "truex",
                           "\"a",
                           "\"\\",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "\"\x01\"",
                           "\"\n\"",
                           "01",
                           "-",
                           "+1",
                           "1.",
                           ".5",
                           "1e",
                           "-01",
                           "1e999",
                           "NaN",
                           "Infinity",
                           "\xff",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf5\x80\x80\x80\"",
                           "\"\xe2\x82\"",
                           "\xEF\xBB\xBF{}",
                           "//\n1"})
    CHECK_THROWS_AS(check(text), entrain::file_error);
  CHECK_THROWS_AS(check(std::string_view("\0", 1)), entrain::file_error);
  CHECK_THROWS_AS(check(std::string_view("{}\0", 3)), entrain::file_error);
}

TEST_CASE("json: duplicate keys and deep nesting are refused") {
  CHECK_THROWS_WITH(check(R"({"a":1,"b":2,"a":3})"), Catch::Contains("appears twice"));
  CHECK_THROWS_WITH(check(R"({"a":1,"\u0061":3})"), Catch::Contains("appears twice"));
  CHECK_NOTHROW(check(R"({"a":{"a":{"a":1}}})"));
  CHECK_THROWS_WITH(check("[[[[1]]]]"), Catch::Contains("nested too deeply"));
  CHECK_NOTHROW(check("[[[1]],[[2]]]"));
  CHECK_THROWS_AS(check(std::string(100'000, '[')), entrain::file_error);
}

TEST_CASE("json: whole numbers have no sign, fraction, exponent or leading zero") {
  for (const char* text : {"-1", "1.0", "1e3", "00", "18446744073709551616", "99999999999999999999999", "\"1\"", "x"}) {
    json::reader in(text, "file");
    CHECK_THROWS_AS(in.unsigned_integer(), entrain::file_error);
  }
}

TEST_CASE("json: an error names the file, the offset, what was expected and what was found") {
  try {
    json::reader in("{\"a\": x}", "some.file", 8);
    in.object([&](const std::string&) { in.unsigned_integer(); });
    FAIL("no error");
  } catch (const entrain::file_error& e) {
    CHECK(e.where() == "some.file:14");
    CHECK(e.expected() == "a whole number below 2^64");
    CHECK(e.found() == "\"x}\"");
  }
}

TEST_CASE("json: what is written can be read") {
  std::string every;
  for (int c = 0; c < 128; ++c) every += char(c);
  every += "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  CHECK(read_string(json::quoted(every)) == every);
  CHECK(read_string(json::quoted("a\xff"
                                 "b")) ==
        "a\xEF\xBF\xBD"
        "b");
  for (const double value : {0.1, 1.0 / 3, 1e300, -2.5e-310, 123456789.0}) {
    std::string text;
    json::append_number(text, value);
    CHECK(read_number(text) == value);
  }
  std::string text;
  json::append_number(text, std::numeric_limits<double>::quiet_NaN());
  json::append_number(text += ' ', -std::numeric_limits<double>::infinity());
  json::append_number(text += ' ', 0.1f);
  json::append_number(text += ' ', std::uint64_t(18446744073709551615u));
  CHECK(text == "null null 0.1 18446744073709551615");
}
