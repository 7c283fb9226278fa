// SPDX-License-Identifier: Apache-2.0
#include <clocale>
#include <set>

#include "catch.hpp"
#include "files.hpp"
#include <entrain/data/bytes.hpp>
#include <entrain/data/csv.hpp>
#include <entrain/testing/dataset_laws.hpp>

namespace data = entrain::data;
using files::file_error_of;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

std::string sample(const data::bytes& d, std::uint64_t index) {
  entrain::token_batch b;
  d.fill(std::vector<std::uint64_t>{index}, b);
  return d.decode(b.inputs) + "|" + d.decode(b.targets);
}

data::labelled_samples labelled(const std::string& text, const data::csv_labelled_options& options = {}) {
  return data::detail::make_csv_labelled(data::detail::source("t.csv", text, options.limits), options);
}
data::regression_samples regression(const std::string& text, const data::csv_regression_options& options = {}) {
  return data::detail::make_csv_regression(data::detail::source("t.csv", text, options.limits), options);
}
entrain::labelled_batch all(const data::labelled_samples& d) {
  std::vector<std::uint64_t> indices(d.size());
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = i;
  entrain::labelled_batch b;
  d.fill(indices, b);
  return b;
}
void refuse(const std::string& text, const std::string& part, const data::csv_labelled_options& options = {}) {
  const auto message = file_error_of([&] { labelled(text, options); });
  INFO(message);
  CHECK(contains(message, part));
}

}  // namespace

TEST_CASE("windows over a text", "[data][bytes]") {
  const auto d = data::bytes::from_string("hello world", {.context = 4});
  CHECK(d.size() == 7);
  CHECK(d.vocabulary_size() == 256);
  CHECK(sample(d, 0) == "hell|ello");
  CHECK(sample(d, 6) == "worl|orld");
  entrain::testing::check_dataset(d);
  CHECK(d.encode("A") == std::vector<std::int32_t>{65});
  entrain::token_batch b;
  CHECK_THROWS_AS(d.fill(std::vector<std::uint64_t>{7}, b), entrain::usage_error);
}

TEST_CASE("a stride of the context predicts every token at most once", "[data][bytes]") {
  std::string text(1000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = char(i * 7);
  for (std::size_t context : {1, 3, 64, 999}) {
    const auto d = data::bytes::from_string(text, {.context = context}).with_stride(context);
    CHECK(d.size() == (text.size() - 1) / context);
    std::string targets;
    for (std::uint64_t i = 0; i < d.size(); ++i) targets += sample(d, i).substr(context + 1);
    CHECK(targets == text.substr(1, d.size() * context));
    entrain::testing::check_dataset(d);
  }
  CHECK_THROWS_AS(data::bytes::from_string(text).with_stride(0), entrain::usage_error);
  CHECK_THROWS_AS(data::bytes::from_string(text, {.context = 0}), entrain::usage_error);
}

TEST_CASE("the vocabulary of the bytes that occur", "[data][bytes]") {
  const auto d = data::bytes::from_string("banana\xff", {.context = 2, .vocabulary = data::vocabulary::distinct});
  CHECK(d.vocabulary_size() == 4);
  CHECK(d.encode("abn\xff") == std::vector<std::int32_t>{0, 1, 2, 3});
  CHECK(d.decode(d.encode("nab")) == "nab");
  CHECK(sample(d, 4) == "na|a\xff");
  CHECK_THROWS_AS(d.encode("x"), entrain::usage_error);
  CHECK_THROWS_AS(d.decode(std::vector<std::int32_t>{4}), entrain::usage_error);
  CHECK_THROWS_AS(d.decode(std::vector<std::int32_t>{-1}), entrain::usage_error);
  entrain::testing::check_dataset(d);
}

TEST_CASE("splitting shares the vocabulary and loses no byte", "[data][bytes]") {
  const auto d = data::bytes::from_string("aaaaaaaab1", {.context = 1, .vocabulary = data::vocabulary::distinct});
  const auto [train, validation] = d.split(0.8);
  CHECK(train.length() == 8);
  CHECK(validation.length() == 2);
  CHECK(validation.vocabulary_size() == 3);
  CHECK(sample(validation, 0) == "b|1");
  CHECK(validation.size() == 1);
  CHECK(d.split(1.0).second.size() == 0);
  entrain::testing::check_dataset(d.split(1.0).second);
  CHECK_THROWS_AS(d.split(1.5), entrain::usage_error);
}

TEST_CASE("folders are read in the order of their paths", "[data][bytes]") {
  const files::folder f;
  f.write("b.txt", "B");
  f.write("a/z.txt", "Z");
  f.write("a/c.md", "C");
  f.write("a.txt", "A");
  f.write(".git/config", "hidden");
  f.write(".hidden", "hidden");
  f.write("picture.png", std::string("P\0G", 3));
  f.write("empty.txt", "");
  std::filesystem::create_symlink(f.path("b.txt"), f.path("link.txt"));
  std::filesystem::create_directory_symlink(f.path(""), f.path("loop"));
  auto text = [](const data::bytes& d) {
    std::string out = sample(d, 0).substr(0, 1);
    for (std::uint64_t i = 0; i < d.size(); ++i) out += sample(d, i).substr(2);
    return out;
  };
  CHECK(text(data::bytes(f.path(""), {.context = 1})) == "ACZB");
  CHECK(text(data::bytes(f.path(""), {.context = 1, .extensions = {".txt"}})) == "AZB");
  CHECK(text(data::bytes(f.path(""), {.context = 1, .binary = true})) == std::string("ACZBP\0G", 7));
  CHECK(text(data::bytes(f.write("pair.bin", std::string("\0x", 2)), {.context = 1})) == std::string("\0x", 2));

  CHECK(contains(file_error_of([&] { data::bytes(f.path(""), {.extensions = {".none"}}); }),
                 "expected files with text and an extension of .none, found 0 files"));
  CHECK(contains(file_error_of([&] { data::bytes(f.path(""), {.context = 1, .size_limit = 2}); }), "larger than the limit"));
  CHECK(contains(file_error_of([&] { data::bytes(f.path("b.txt"), {.context = 4}); }), "expected 5 bytes, found 1 byte"));
  CHECK(contains(file_error_of([&] { data::bytes(f.path("empty.txt"), {.context = 4}); }), "found 0 bytes"));
  CHECK(contains(file_error_of([&] { data::bytes(f.path("nothing")); }), "cannot be found"));
  CHECK(contains(file_error_of([&] { data::bytes(f.write("long.txt", "123456"), {.size_limit = 5}); }),
                 "expected at most 5 bytes, found 6 bytes"));
}

TEST_CASE("tiny Shakespeare", "[data][bytes][real]") {
  const auto path = files::real("text/tinyshakespeare.txt");
  if (path.empty()) {
    WARN("skipped: tiny Shakespeare is not here (ENTRAIN_DATA names the folder)");
    return;
  }
  const data::bytes d(path, {.context = 64, .vocabulary = data::vocabulary::distinct});
  CHECK(d.vocabulary_size() == 65);
  CHECK(d.length() == 1115394);
  CHECK(d.split(0.9).first.length() == 1003854);  // as nanoGPT's data/shakespeare_char/prepare.py prints
  CHECK(d.split(0.9).second.length() == 111540);
  CHECK(contains(sample(d, 0), "First Citizen:"));
  entrain::testing::check_dataset(d);
}

TEST_CASE("CSV with a header", "[data][csv]") {
  // the last line has no end
  const auto d = labelled("x,\"the, label\",y\n1,2,3.5\r\n\n-4e1,0, .25 \n\"7\",1,+8", {.label = "the, label"});
  CHECK(d.size() == 3);
  CHECK(d.features() == 2);
  const auto by_name = all(d);
  CHECK(by_name.targets == std::vector<std::int32_t>{2, 0, 1});
  CHECK(by_name.inputs == std::vector<float>{1, 3.5f, -40, 0.25f, 7, 8});
  entrain::testing::check_dataset(d.subset(1, 2));
}

TEST_CASE("CSV labels by number, by name, and as text", "[data][csv]") {
  CHECK(all(labelled("1;2\n3;4\n", {.label = 0, .header = false, .separator = ';'})).targets == std::vector<std::int32_t>{1, 3});
  CHECK(all(labelled("1,2\n3,4\n", {.label = -1, .header = false})).targets == std::vector<std::int32_t>{2, 4});
  const auto iris = labelled("a,species\n1,virginica\n2,setosa\n3,\"virgi\"\"nica\"\n", {.label = "species", .label_names = true});
  CHECK(iris.class_names() == std::vector<std::string>{"setosa", "virgi\"nica", "virginica"});
  CHECK(all(iris).targets == std::vector<std::int32_t>{2, 0, 1});
  CHECK(iris.classes() == 3);
  CHECK(all(labelled("\xef\xbb\xbfy,x\n5,1\n", {.label = "y"})).targets[0] == 5);  // a byte order mark
}

TEST_CASE("CSV regression", "[data][csv]") {
  const auto d = regression("a,b,c\n1,2,3\n4,5,6\n", {.targets = {"c", 0}});
  entrain::regression_batch b;
  d.fill(std::vector<std::uint64_t>{1, 0}, b);
  CHECK(b.targets == std::vector<float>{6, 4, 3, 1});
  CHECK(b.inputs == std::vector<float>{5, 2});
  CHECK(regression("a,b\n1,2\n").outputs() == 1);
  entrain::testing::check_dataset(d);
}

TEST_CASE("CSV numbers do not depend on the locale", "[data][csv]") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  if (!std::setlocale(LC_ALL, "de_DE.UTF-8")) WARN("the German locale is not installed; only the C locale is tested");
  CHECK(all(labelled("x,y\n1.5,0\n")).inputs[0] == 1.5f);
  std::setlocale(LC_ALL, before.c_str());
}

TEST_CASE("CSV that is none", "[data][csv][security]") {
  refuse("", "the table holds no rows");
  refuse("a,b\n", "t.csv:4: the table holds no rows");
  refuse("a,b\n1,2\n3\n", "t.csv:8: data row 2 has another number of fields than the first row; expected 2 fields, found 1");
  refuse("a,b\n1,2,\n", "expected 2 fields, found 3");
  refuse("a,b\n1,\"2\n", "t.csv:6: a quoted field is not closed (line 2); expected a closing quote, found the end of the file");
  refuse("a,b\n\"1\"x,2\n", "t.csv:7: text follows a closing quote (line 2); expected a separator or the end of the line, found x");
  refuse("a,b\n1x,2\n", "t.csv:4: this is no number that fits a float (data row 1, column 1); expected a finite number, found '1x'");
  for (const char* bad : {"", "nan", "inf", "-inf", "1e39", "1e999", "0x10", "1,5", "--1", "+-1", "1 2", "\"\"", "e5"})
    CHECK_THROWS_AS(labelled(std::string("a,b\n") + bad + ",2\n"), entrain::file_error);
  CHECK(all(labelled("a,b\n1e-999,2\n")).inputs[0] == 0);
  for (const char* bad : {"-1", "0.5", "1e9", "cat"}) CHECK_THROWS_AS(labelled(std::string("a,b\n1,") + bad + "\n"), entrain::file_error);
  refuse("a,b\n1,2\n", "expected a column named 'z', found a, b", {.label = "z"});
  refuse("a,b\n1,2\n", "expected column 2, found 2 columns", {.label = 2});
  refuse("a,b\n1,2\n", "expected column -3, found 2 columns", {.label = -3});
  refuse("1,2\n", "found no header", {.label = "z", .header = false});
  refuse("a,b\n1,2\n", "larger than the limit", {.limits = {.bytes = 7}});
  const std::string good = "a,b\n1,\"2\"\n33,\"\"\"\"\n";
  for (std::size_t n = 0; n <= good.size(); ++n) {
    try {
      labelled(good.substr(0, n));
    } catch (const entrain::file_error&) {}
  }
}

#if ENTRAIN_WITH_ZLIB
TEST_CASE("CSV in gzip", "[data][csv][gzip]") {
  std::string text = "a,b\n";
  for (int i = 0; i < 300000; ++i) text += std::to_string(i % 1000) + "," + std::to_string(i % 7) + "\n";  // more than one piece
  const auto d = labelled(files::gzip(text));
  CHECK(d.size() == 300000);
  CHECK(d.classes() == 7);
  refuse(files::gzip(std::string(1 << 26, '\n')), "unpacks to more than the limit");
}
#endif
