// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "files.hpp"
#include <entrain/data/cifar10.hpp>
#include <entrain/data/idx.hpp>
#include <entrain/testing/dataset_laws.hpp>

namespace data = entrain::data;
using files::file_error_of;

namespace {

// Three images of 2 x 2.
const std::string small_images = files::idx_header(8, {3, 2, 2}) + std::string("\x00\x33\x66\x99\xcc\xff\x01\x02\x03\x04\x05\x06", 12);
const std::string small_labels = files::idx_header(8, {3}) + std::string("\x07\x00\x09", 3);

data::images read(const std::string& images, const std::string& labels, const data::idx_options& options = {}) {
  return data::detail::read_idx_images(data::detail::source("images", images, options.limits),
                                       data::detail::source("labels", labels, options.limits), options);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

void refuse(const std::string& images, const std::string& labels, const std::string& part, const data::idx_options& options = {}) {
  const auto message = file_error_of([&] { read(images, labels, options); });
  INFO(message);
  CHECK(contains(message, part));
}

}  // namespace

TEST_CASE("IDX images and labels", "[data][idx]") {
  const auto d = read(small_images, small_labels);
  CHECK(d.size() == 3);
  CHECK(d.features() == 4);
  CHECK(d.height() == 2);
  CHECK(d.classes() == 10);
  entrain::labelled_batch b;
  d.fill(std::vector<std::uint64_t>{1, 0}, b);
  CHECK(b.targets == std::vector<std::int32_t>{0, 7});
  CHECK(b.inputs[0] == 0xcc / 255.0f);
  CHECK(b.inputs[1] == 1.0f);
  CHECK(b.inputs[5] == 0x33 / 255.0f);
  CHECK_THROWS_AS(d.fill(std::vector<std::uint64_t>{3}, b), entrain::usage_error);
  entrain::testing::check_dataset(d);
  entrain::testing::check_dataset(d.subset(1, 2));

  const auto part = d.subset(2, 1).normalised({{0.5f}, {0.25f}});
  part.fill(std::vector<std::uint64_t>{0}, b);
  CHECK(b.targets[0] == 9);
  CHECK(b.inputs[0] == Approx((3 / 255.0 - 0.5) / 0.25));
  CHECK_THROWS_AS(d.subset(2, 2), entrain::usage_error);
  CHECK_THROWS_AS(d.normalised({{0, 0}, {1}}), entrain::usage_error);
  CHECK_THROWS_AS(d.normalised({{0}, {0}}), entrain::usage_error);
}

TEST_CASE("IDX with two and four dimensions, and with no images", "[data][idx]") {
  const auto rows = read(files::idx_header(8, {2, 3}) + "abcdef", files::idx_header(8, {2}) + std::string(2, '\0'));
  CHECK(rows.features() == 3);
  const auto coloured = read(files::idx_header(8, {1, 3, 1, 2}) + "abcdef", files::idx_header(8, {1}) + std::string(1, '\0'));
  CHECK(coloured.channels() == 3);
  CHECK(coloured.width() == 2);
  CHECK(read(files::idx_header(8, {0, 28, 28}), files::idx_header(8, {0})).size() == 0);
}

TEST_CASE("IDX cut off at every byte", "[data][idx][security]") {
  for (std::size_t n = 0; n < small_images.size(); ++n) CHECK_THROWS_AS(read(small_images.substr(0, n), small_labels), entrain::file_error);
  for (std::size_t n = 0; n < small_labels.size(); ++n) CHECK_THROWS_AS(read(small_images, small_labels.substr(0, n)), entrain::file_error);
}

TEST_CASE("IDX with any header byte changed gives data or a file_error, nothing else", "[data][idx][security]") {
  for (std::size_t at = 0; at < small_images.size(); ++at)
    for (int value = 0; value < 256; ++value) {
      std::string bad = small_images;
      bad[at] = char(value);
      try {
        read(bad, small_labels);
      } catch (const entrain::file_error&) {}
      if (at >= small_labels.size()) continue;
      bad = small_labels;
      bad[at] = char(value);
      try {
        read(small_images, bad);
      } catch (const entrain::file_error&) {}
    }
  SUCCEED();
}

TEST_CASE("IDX files that lie", "[data][idx][security]") {
  refuse("\x01" + small_images.substr(1), small_labels, "images:0: this is no IDX file; expected two zero bytes, found 1 0");
  refuse(files::idx_header(0x0d, {3, 2, 2}) + std::string(48, '\0'), small_labels,
         "images:2: the values are of a type that is not read; expected 8 (unsigned byte), found 13");
  refuse(small_labels, small_labels, "images:3: wrong number of dimensions; expected 2 to 4, found 1");
  refuse(files::idx_header(8, {3, 1, 1, 1, 1}) + "abc", small_labels, "found 5");
  refuse(small_images, small_images, "labels:3: wrong number of dimensions; expected 1, found 3");
  refuse(files::idx_header(8, {3, 0xffffffffu, 1}) + "abc", small_labels,
         "images:16: the file is too small for the values that its dimensions announce; expected 12884901885 bytes, found 3 bytes");
  refuse(files::idx_header(8, {0xffffffffu, 0xffffffffu, 0xffffffffu}), small_labels, "images:12: the product of the dimensions overflows");
  refuse(files::idx_header(8, {0x80000000u, 0x80000000u, 4}), small_labels, "images:12: the product of the dimensions overflows");
  refuse(files::idx_header(8, {3, 0, 2}), small_labels, "images:8: a dimension is zero");
  refuse(small_images, files::idx_header(8, {3}) + std::string("\x07\x0a\x00", 3),
         "labels:9: label out of range; expected below 10, found 10");
  refuse(small_images, files::idx_header(8, {2}) + std::string(2, '\0'),
         "images:4: images and labels differ in number; expected 2 images, as many as labels, found 3");
  refuse(small_images + "x", small_labels, "images:28: bytes follow after the end of the data; expected the end of the file, found 1 byte");
  refuse(small_images, small_labels + "xyz", "labels:11: bytes follow");
  refuse("", small_labels, "images:0: the file ends within the IDX magic number; expected 4 bytes, found 0 bytes");
}

TEST_CASE("files that are none", "[data][idx][security]") {
  const files::folder f;
  const auto labels = f.write("labels", small_labels);
  CHECK(data::idx(f.write("images", small_images), labels).size() == 3);
  CHECK(contains(file_error_of([&] { data::idx(f.path("absent"), labels); }), "cannot be found"));
  CHECK(contains(file_error_of([&] { data::idx(f.path(""), labels); }), "expected a regular file, found a directory"));
  CHECK(contains(file_error_of([&] { data::idx("/dev/zero", labels); }), "expected a regular file"));
  CHECK(contains(file_error_of([&] { data::idx(f.write("empty", ""), labels); }), "empty:0: "));
  std::filesystem::permissions(f.path("images"), std::filesystem::perms::none);
  if (geteuid() != 0) CHECK(contains(file_error_of([&] { data::idx(f.path("images"), labels); }), "cannot be opened"));
}

#if ENTRAIN_WITH_ZLIB

TEST_CASE("gzip", "[data][gzip]") {
  const auto d = read(files::gzip(small_images), small_labels);
  CHECK(d.size() == 3);
  // several members, cut anywhere
  for (std::size_t cut = 0; cut <= small_images.size(); ++cut)
    CHECK(read(files::gzip(small_images.substr(0, cut)) + files::gzip(small_images.substr(cut)), files::gzip(small_labels)).size() == 3);
}

TEST_CASE("gzip cut off or changed at every byte", "[data][gzip][security]") {
  const auto packed = files::gzip(small_images);
  for (std::size_t n = 0; n < packed.size(); ++n) CHECK_THROWS_AS(read(packed.substr(0, n), small_labels), entrain::file_error);
  for (std::size_t at = 0; at < packed.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = packed;
      bad[at] = char(bad[at] ^ (1 << bit));
      try {
        read(bad, small_labels);
      } catch (const entrain::file_error&) {}
    }
  auto wrong_sum = packed;
  wrong_sum[packed.size() - 6] = char(wrong_sum[packed.size() - 6] ^ 1);
  refuse(wrong_sum, small_labels, "the compressed data is damaged");
  refuse(packed + "trailing", small_labels, "the compressed data is damaged");
  refuse(files::gzip(small_images + "x"), small_labels, "bytes follow after the end of the data");
  refuse(packed.substr(0, packed.size() - 1), small_labels, "the compressed data is cut off");
}

TEST_CASE("gzip bombs are refused before memory is taken", "[data][gzip][security]") {
  // 64 MiB of zeros in 64 KiB: a ratio of 1000
  const std::string zeros = files::idx_header(8, {1 << 16, 32, 32}) + std::string(std::size_t{1} << 26, '\0');
  const std::string labels = files::idx_header(8, {1 << 16}) + std::string(1 << 16, '\0');
  const auto bomb = files::gzip(zeros);
  refuse(bomb, labels,
         "images:16: the file is too small for the values that its dimensions announce; expected 67108864 bytes, found at most");
  data::idx_options trusting;
  trusting.limits.ratio = 2000;
  CHECK(read(bomb, labels, trusting).size() == 1 << 16);
  trusting.limits.bytes = 1 << 20;
  refuse(bomb, labels, "found at most 1048560 bytes", trusting);
  refuse(files::gzip(small_images + std::string(std::size_t{1} << 26, '\0')), small_labels, "bytes follow");
}

#else

TEST_CASE("gzip without zlib says what to do", "[data][gzip]") { refuse("\x1f\x8b\x08", small_labels, "built without zlib"); }

#endif

TEST_CASE("MNIST's test set", "[data][idx][real]") {
  const auto images = files::real("mnist/t10k-images-idx3-ubyte.gz"), labels = files::real("mnist/t10k-labels-idx1-ubyte.gz");
  if (images.empty() || labels.empty() || !ENTRAIN_WITH_ZLIB) {
    WARN("skipped: MNIST is not here (ENTRAIN_DATA names the folder) or zlib is missing");
    return;
  }
  const data::idx d(images, labels, {.mean = 0.1307f, .deviation = 0.3081f});
  CHECK(d.size() == 10000);
  CHECK(d.features() == 784);
  entrain::labelled_batch b;
  std::vector<std::uint64_t> all(10000);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  d.fill(all, b);
  CHECK(std::vector<std::int32_t>(b.targets.begin(), b.targets.begin() + 5) == std::vector<std::int32_t>{7, 2, 1, 0, 4});
  double sum = 0;
  for (auto v : b.inputs) sum += v;
  CHECK(std::abs(sum / double(b.inputs.size())) < 0.02);  // the mean belongs to the training set
  entrain::testing::check_dataset(d);
}

TEST_CASE("CIFAR", "[data][cifar]") {
  const files::folder f;
  auto record = [](int label, char red, char green, char blue) {
    return std::string(1, char(label)) + std::string(1024, red) + std::string(1024, green) + std::string(1024, blue);
  };
  const auto one = f.write("one.bin", record(3, 0, 51, 102) + record(9, 1, 2, 3));
  const auto two = f.write("two.bin", record(0, 7, 8, 9));
  const data::cifar10 d({one, two}, {.normalise = {{0, 0.2f, 0.4f}, {1, 2, 4}}});
  CHECK(d.size() == 3);
  CHECK(d.channels() == 3);
  CHECK(d.height() == 32);
  entrain::testing::check_dataset(d);
  entrain::labelled_batch b;
  d.fill(std::vector<std::uint64_t>{2, 0}, b);
  CHECK(b.targets == std::vector<std::int32_t>{0, 3});
  CHECK(b.inputs[3072] == Approx(0));
  CHECK(b.inputs[3072 + 1024] == Approx((0.2 - 0.2) / 2).margin(1e-6));
  CHECK(b.inputs[2048] == Approx((9 / 255.0 - 0.4) / 4));

  CHECK(data::cifar100({f.write("hundred.bin", '\x05' + record(99, 1, 2, 3))}).classes() == 100);
  const auto refused = [&](const std::string& content, const std::string& part) {
    const auto message = file_error_of([&] { data::cifar10({f.write("bad.bin", content)}); });
    INFO(message);
    CHECK(contains(message, part));
  };
  refused("", "expected one or more records of 3073 bytes, found 0 bytes");
  refused(record(1, 1, 1, 1) + "x", "bad.bin:3073: the size of the file is no multiple of a record");
  refused(record(1, 1, 1, 1) + record(10, 1, 1, 1), "bad.bin:3073: label out of range; expected below 10, found 10");
  for (std::size_t n = 1; n < 3073; n += 97) refused(record(1, 1, 1, 1).substr(0, n), "no multiple of a record");
  const auto large = f.write("large.bin", record(1, 1, 1, 1));
  CHECK(contains(file_error_of([&] { data::cifar10({large}, {.limits = {.bytes = 3072}}); }), "larger than the limit"));
}
