// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/data/detail/inflate.hpp>

// The bytes of a data file, read front to back, plain or gzip (told apart by the first two bytes, not by the name). Files
// are not trusted: how many bytes there can be is known before memory is taken for them, and every error names the file,
// the offset (in the decompressed stream for gzip), what was expected and what was found.

namespace entrain::data {

// Limits on what a file may unpack to; a file beyond them is refused.
struct read_limits {
  std::uint64_t bytes = std::uint64_t{4} << 30;  // in all, decompressed
  std::uint64_t ratio = 200;                     // decompressed to compressed; the first MiB is free
};

namespace detail {

using entrain::detail::text;

inline std::string in_bytes(std::uint64_t n) { return text(n, n == 1 ? " byte" : " bytes"); }

class source {
 public:
  // Opens a regular file.
  explicit source(const std::filesystem::path& path, read_limits limits = {}, bool decompress = true)
      : name_(path.string()), limits_(limits) {
    std::error_code failed;
    const auto status = std::filesystem::status(path, failed);
    if (!std::filesystem::exists(status)) throw file_error(name_, "the file cannot be found", "a file", "nothing");
    if (std::filesystem::is_directory(status)) throw file_error(name_, "this is no file", "a regular file", "a directory");
    if (!std::filesystem::is_regular_file(status)) throw file_error(name_, "this is no file", "a regular file", "something else");
    size_ = std::filesystem::file_size(path, failed);
    auto stream = std::make_unique<std::ifstream>(path, std::ios::binary);
    if (failed || !*stream) throw file_error(name_, "the file cannot be opened", "permission to read", "none");
    stream_ = std::move(stream);
    begin(decompress);
  }
  // Reads from memory, for tests.
  source(std::string name, std::string content, read_limits limits = {})
      : name_(std::move(name)), limits_(limits), size_(content.size()), stream_(std::make_unique<std::istringstream>(std::move(content))) {
    begin(true);
  }

  const std::string& name() const { return name_; }
  bool compressed() const { return inflater_ != nullptr; }
  std::uint64_t offset() const { return offset_; }
  std::string where(std::uint64_t offset) const { return text(name_, ':', offset); }
  std::string where() const { return where(offset_); }

  // Bytes still to come: exactly so for a plain file, at most so for a compressed one.
  std::uint64_t remaining() const { return (compressed() ? largest() : size_) - offset_; }

  // Fills `out` or throws; `what` names the thing in the message.
  void read(std::uint8_t* out, std::size_t count, const char* what) {
    const auto found = read_some(out, count);
    if (found < count) throw file_error(where(), text("the file ends within ", what), in_bytes(count), in_bytes(found));
  }

  // `count` bytes into memory of their own, which is taken only after the file was found large enough to hold them and,
  // for compressed files, only as fast as the bytes really come.
  std::vector<std::uint8_t> read_vector(std::uint64_t count, const char* what) {
    if (count > remaining())
      throw file_error(where(), text("the file is too small for ", what), in_bytes(count),
                       text(compressed() ? "at most " : "", in_bytes(remaining())));
    std::vector<std::uint8_t> out;
    while (out.size() < count) {
      const auto have = out.size();
      const auto step = compressed() ? std::min<std::uint64_t>(count - have, std::max<std::size_t>(have, first_piece)) : count;
      out.resize(have + step);
      const auto found = read_some(out.data() + have, step);
      if (found < step) throw file_error(where(), text("the file ends within ", what), in_bytes(count), in_bytes(have + found));
    }
    return out;
  }

  // Everything that is left.
  std::string read_text() {
    if (!compressed() && remaining() > limits_.bytes)
      throw file_error(name_, "the file is larger than the limit", "at most " + in_bytes(limits_.bytes), in_bytes(remaining()));
    std::string out;
    for (std::size_t found = 1; found > 0;) {
      const auto have = out.size();
      out.resize(have + (compressed() ? std::max<std::size_t>(have, first_piece) : std::size_t(remaining())));
      found = read_some(reinterpret_cast<std::uint8_t*>(out.data()) + have, out.size() - have);
      out.resize(have + found);
    }
    return out;
  }

  // Nothing may follow.
  void expect_end() {
    std::uint8_t byte;
    const auto at = offset_;
    if (read_some(&byte, 1) != 0)
      throw file_error(where(at), "bytes follow after the end of the data", "the end of the file",
                       compressed() ? std::string("more data") : in_bytes(size_ - at));
  }

 private:
  static constexpr std::size_t first_piece = std::size_t{1} << 20;

  void begin(bool decompress) {
    char magic[2] = {};
    stream_->read(magic, 2);
    const bool gzip = decompress && stream_->gcount() == 2 && magic[0] == '\x1f' && magic[1] == '\x8b';
    stream_->clear();
    stream_->seekg(0);
    if (gzip) inflater_ = make_inflater(*stream_, name_);
  }

  std::uint64_t largest() const {
    const std::uint64_t free = first_piece;
    const std::uint64_t by_ratio =
        size_ > (~std::uint64_t{0} - free) / std::max<std::uint64_t>(limits_.ratio, 1) ? ~std::uint64_t{0} : free + size_ * limits_.ratio;
    return std::max(offset_, std::min(limits_.bytes, by_ratio));
  }

  // Short only at the end of the file.
  std::size_t read_some(std::uint8_t* out, std::size_t count) {
    std::size_t found = 0;
    if (compressed()) {
      found = inflater_->read(out, count);
      if (offset_ + found > largest())
        throw file_error(where(), "the compressed file unpacks to more than the limit (raise read_limits if you trust it)",
                         "at most " + in_bytes(largest()), "more");
    } else {
      stream_->read(reinterpret_cast<char*>(out), std::streamsize(count));
      found = std::size_t(stream_->gcount());
      if (stream_->bad()) throw file_error(where(), "the file cannot be read", in_bytes(count), in_bytes(found));
    }
    offset_ += found;
    return found;
  }

  std::string name_;
  read_limits limits_;
  std::uint64_t size_ = 0;    // of the file on disk
  std::uint64_t offset_ = 0;  // in the decompressed stream
  std::unique_ptr<std::istream> stream_;
  std::unique_ptr<inflater> inflater_;
};

}  // namespace detail
}  // namespace entrain::data
