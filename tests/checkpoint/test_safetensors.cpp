// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include <unistd.h>

#include "catch.hpp"
#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>

using namespace entrain;
using namespace entrain::checkpoint;
namespace fs = std::filesystem;

namespace {

struct folder {
  fs::path path = fs::temp_directory_path() / ("entrain_safetensors_" + std::to_string(::getpid()));
  folder() { fs::create_directories(path); }
  ~folder() { fs::remove_all(path); }
};

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void spill(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

std::string with_length(const std::string& header, const std::string& data = {}) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = char((header.size() >> (8 * i)) & 255u);
  return out + header + data;
}

std::string error_of(const std::string& bytes) {
  static const folder place;
  spill(place.path / "bad.safetensors", bytes);
  try {
    safetensors_file(place.path / "bad.safetensors");
  } catch (const file_error& e) { return e.what(); }
  return "";
}

template <class T> std::vector<T> values(const safetensors_file& file, const char* name) {
  const auto* entry = file.find(name);
  REQUIRE(entry != nullptr);
  std::vector<T> out(entry->bytes() / sizeof(T));
  file.read(*entry, std::as_writable_bytes(std::span(out)));
  return out;
}

}  // namespace

TEST_CASE("crc32c: known answers") {
  const auto sum = [](const std::string& text) {
    crc32c c;
    c.update(std::as_bytes(std::span(text)));
    return c.value();
  };
  CHECK(sum("") == 0u);
  CHECK(sum("123456789") == 0xE3069283u);
  CHECK(sum(std::string(32, '\0')) == 0x8A9136AAu);  // RFC 3720, B.4
  CHECK(sum(std::string(32, '\xff')) == 0x62A8AB43u);
  std::string rising(32, '\0');
  std::iota(rising.begin(), rising.end(), char(0));
  CHECK(sum(rising) == 0x46DD794Eu);
  for (std::size_t cut = 0; cut <= rising.size(); ++cut) {
    crc32c pieces;
    pieces.update(std::as_bytes(std::span(rising)).first(cut));
    pieces.update(std::as_bytes(std::span(rising)).subspan(cut));
    CHECK(pieces.value() == 0x46DD794Eu);
  }
  CHECK(~checkpoint::detail::crc32c_by_tables(0xffffffffu, std::as_bytes(std::span(rising))) == 0x46DD794Eu);
  if (checkpoint::detail::has_crc32c_instruction())
    CHECK(~checkpoint::detail::crc32c_by_instruction(0xffffffffu, std::as_bytes(std::span(rising))) == 0x46DD794Eu);
}

TEST_CASE("safetensors: reads a file of the original implementation") {
  const safetensors_file file(fs::path(__FILE__).parent_path() / "golden.safetensors");
  CHECK(file.tensors().size() == 10);
  CHECK(values<float>(file, "matrix") == std::vector<float>{0, 0.25f, 0.5f, 0.75f, 1, 1.25f});
  CHECK(file.find("matrix")->dims == shape{2, 3});
  CHECK(values<double>(file, "double") == std::vector<double>{0.1, -1e300});
  CHECK(values<std::uint16_t>(file, "half") == std::vector<std::uint16_t>{0x3E00, 0xC000, 0x7BFF});
  CHECK(file.find("half")->type->type == dtype::f16);
  CHECK(file.find("half")->description() == "F16 [3]");
  CHECK(values<std::int32_t>(file, "tokens") == std::vector<std::int32_t>{-1, 2147483647});
  CHECK(values<std::uint64_t>(file, "big") == std::vector<std::uint64_t>{18446744073709551615u});
  CHECK(values<std::uint8_t>(file, "bytes") == std::vector<std::uint8_t>{0, 1, 2, 3, 4});
  CHECK(values<std::uint8_t>(file, "flags") == std::vector<std::uint8_t>{1, 0, 1});
  CHECK(values<std::int16_t>(file, "empty").empty());
  CHECK(file.find("empty")->dims == shape{0, 7});
  CHECK(values<float>(file, "scalar") == std::vector<float>{3.25f});
  CHECK(file.find("scalar")->dims.empty());
  CHECK(values<std::int8_t>(file, "odd \"name\"\n\xE2\x82\xAC") == std::vector<std::int8_t>{1});
  REQUIRE(file.find_metadata("note") != nullptr);
  CHECK(*file.find_metadata("note") == "caf\xC3\xA9");
  CHECK(file.find("missing") == nullptr);
  CHECK_THROWS_WITH(verify_safetensors(file), Catch::Contains("no checksum"));
}

TEST_CASE("safetensors: what is written is read, aligned, under any name") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  const std::vector<std::uint8_t> small{1, 2, 3};
  const std::vector<double> wide{0.1, -0.0};
  const std::vector<bfloat16> brain{bfloat16(1.5f), bfloat16(-2)};
  safetensors_writer out;
  out.add("b\"\\\n\x01\xE2\x82\xAC", dtype::u8, {3}, std::as_bytes(std::span(small)));
  out.add("brain", dtype::bf16, {2, 1}, std::as_bytes(std::span(brain)));
  out.add("wide", dtype::f64, {2}, std::as_bytes(std::span(wide)));
  out.add("none", dtype::i64, {4, 0}, std::span<const std::byte>{});
  out.add("made", dtype::i32, {100'000}, [](const safetensors_writer::sink& sink) {
    for (std::int32_t i = 0; i < 100'000; ++i) sink(std::as_bytes(std::span(&i, 1)));
  });
  out.add_metadata("key \"1\"", "text\n2");
  out.write(path);

  const safetensors_file file(path);
  CHECK((8 + file.header_text().size()) % 8 == 0);
  for (const auto& entry : file.tensors()) CHECK(entry.begin % entry.type->bytes == 0);
  CHECK(values<std::uint8_t>(file, "b\"\\\n\x01\xE2\x82\xAC") == small);
  CHECK(values<double>(file, "wide") == wide);
  CHECK(values<std::uint16_t>(file, "brain") == std::vector<std::uint16_t>{0x3FC0, 0xC000});
  CHECK(values<std::int64_t>(file, "none").empty());
  const auto made = values<std::int32_t>(file, "made");
  CHECK((made[0] == 0 && made[99'999] == 99'999));
  CHECK(*file.find_metadata("key \"1\"") == "text\n2");
  CHECK_NOTHROW(verify_safetensors(file));
  CHECK(std::distance(fs::directory_iterator(place.path), {}) == 1);
  std::vector<std::byte> wrong(5);
  CHECK_THROWS_AS(file.read(file.tensors()[0], wrong), usage_error);
}

TEST_CASE("safetensors: the writer refuses what it could not read again") {
  safetensors_writer out;
  const std::vector<float> three{1, 2, 3};
  const auto bytes = std::as_bytes(std::span(three));
  out.add("a", dtype::f32, {3}, bytes);
  CHECK_THROWS_AS(out.add("a", dtype::f32, {3}, bytes), usage_error);
  CHECK_THROWS_AS(out.add("b", dtype::f32, {4}, bytes), usage_error);
  CHECK_THROWS_AS(out.add("b", dtype::f64, {3}, bytes), usage_error);
  CHECK_THROWS_AS(out.add("__metadata__", dtype::f32, {3}, bytes), usage_error);
  CHECK_THROWS_AS(out.add("\xff", dtype::f32, {3}, bytes), usage_error);
  CHECK_THROWS_AS(out.add("b", dtype::f32, {std::size_t(1) << 40, std::size_t(1) << 40}, bytes), usage_error);
  out.add_metadata("k", "v");
  CHECK_THROWS_AS(out.add_metadata("k", "v"), usage_error);
  const folder place;
  out.add("liar", dtype::f32, {3}, [&](const safetensors_writer::sink& sink) { sink(bytes.first(4)); });
  CHECK_THROWS_AS(out.write(place.path / "x.safetensors"), usage_error);
  CHECK(fs::is_empty(place.path));
  CHECK_THROWS_AS(safetensors_writer{}.write(place.path / "no" / "such" / "folder"), file_error);
}

TEST_CASE("safetensors: every rule of the format is enforced") {
  const auto one = [](const std::string& entry, const std::string& data = "abcd") {
    return error_of(with_length("{\"a\":" + entry + "}", data));
  };
  using Catch::Contains;
  REQUIRE(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})") == "");
  REQUIRE(error_of(with_length("{}")) == "");
  REQUIRE(error_of(with_length("{}   ")) == "");
  CHECK_THAT(error_of(""), Contains("too short"));
  CHECK_THAT(error_of("1234567"), Contains("too short"));
  CHECK_THAT(error_of(std::string(8, '\0')), Contains("no JSON object"));
  CHECK_THAT(error_of(std::string(8, '\xff') + "{}"), Contains("impossible header length"));
  CHECK_THAT(error_of(with_length("{}").substr(0, 9)), Contains("impossible header length"));
  CHECK_THAT(error_of(with_length(" {}")), Contains("'{' as its first byte"));
  CHECK_THAT(error_of(with_length("[]")), Contains("'{' as its first byte"));
  CHECK_THAT(error_of(with_length("{} {}")), Contains("end of the text"));
  CHECK_THAT(error_of(with_length("{\"\xff\":1}")), Contains("UTF-8"));
  CHECK_THAT(one("1"), Contains("an object"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1]})"), Contains("incomplete"));
  CHECK_THAT(one(R"({"shape":[1],"data_offsets":[0,4]})"), Contains("incomplete"));
  CHECK_THAT(one(R"({"dtype":"F4","shape":[1],"data_offsets":[0,4]})"), Contains("not supported"));
  CHECK_THAT(one(R"({"dtype":"f32","shape":[1],"data_offsets":[0,4]})"), Contains("not supported"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})"), Contains("does not know"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]})"), Contains("twice"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[[1]],"data_offsets":[0,4]})"), Contains("whole number"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), Contains("whole number"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), Contains("whole number"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), Contains("two numbers"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), Contains("two numbers"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), Contains("8 bytes for F32 [2]"));
  CHECK_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), Contains("ends before it begins"));
  CHECK_THAT(one(R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})"), Contains("hole"));
  CHECK_THAT(one(R"({"dtype":"U8","shape":[3],"data_offsets":[0,3]})"), Contains("belong to no tensor"));
  CHECK_THAT(one(R"({"dtype":"U8","shape":[5],"data_offsets":[0,5]})"), Contains("beyond the end"));
  CHECK_THAT(one(R"({"dtype":"U8","shape":[9223372036854775808,2],"data_offsets":[0,0]})", ""), Contains("64 bits"));
  CHECK_THAT(one(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})", ""), Contains("64 bits"));
  CHECK(one(R"({"dtype":"F64","shape":[9223372036854775808,9223372036854775808,0],"data_offsets":[0,0]})", "") == "");
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK_THAT(one("{\"dtype\":\"F32\",\"shape\":[" + many + "],\"data_offsets\":[0,4]}"), Contains("too many dimensions"));

  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})",
                    b = R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]})";
  CHECK(error_of(with_length("{" + b + "," + a + "}", "abcd")) == "");  // the header's order is free
  CHECK_THAT(error_of(with_length("{" + a + "," + a + "}", "abcd")), Contains("twice"));
  CHECK_THAT(error_of(with_length("{" + a + R"(,"b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", "abcd")), Contains("overlaps"));
  CHECK_THAT(error_of(with_length(R"({"__metadata__":{"k":1}})")), Contains("a string"));
  CHECK_THAT(error_of(with_length(R"({"__metadata__":[]})")), Contains("an object"));
  CHECK_THAT(error_of(with_length(R"({"__metadata__":{"k":"v","k":"w"}})")), Contains("twice"));
  CHECK_THAT(error_of(with_length(R"({"__metadata__":{},"__metadata__":{}})")), Contains("twice"));
  CHECK_THAT(error_of(with_length(R"({"a":[[[[[]]]]]})")), Contains("an object"));
}

TEST_CASE("safetensors: a cut file and any flipped bit are found") {
  const folder place;
  const auto path = place.path / "a.safetensors";
  std::vector<float> weights(20);
  std::iota(weights.begin(), weights.end(), 1.0f);
  safetensors_writer out;
  out.add("w", dtype::f32, {4, 5}, std::as_bytes(std::span(weights)));
  out.write(path);
  const std::string good = slurp(path);
  const auto accepted = [&](const std::string& bytes) {
    spill(path, bytes);
    try {
      verify_safetensors(safetensors_file(path));
      return true;
    } catch (const file_error&) { return false; }
  };
  REQUIRE(accepted(good));
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_FALSE(accepted(good.substr(0, length)));
  CHECK_FALSE(accepted(good + '\0'));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = char(bad[bit / 8] ^ (1 << (bit % 8)));
    if (accepted(bad)) FAIL("bit " << bit << " flipped and not found");
  }
}

TEST_CASE("safetensors: a folder and a missing file are errors with their reason") {
  CHECK_THROWS_WITH(safetensors_file("/nonexistent/x"), Catch::Contains("/nonexistent/x: cannot open the file"));
  CHECK_THROWS_AS(safetensors_file("/"), file_error);
}
