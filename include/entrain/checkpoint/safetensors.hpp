// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <entrain/checkpoint/atomic_file.hpp>
#include <entrain/core/json_reader.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>

// Reading the safetensors format (https://huggingface.co/docs/safetensors): eight bytes of header length, a JSON header
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}, then the
// tensors' bytes. The file may come from anywhere: every size is checked against the file before memory is taken, and
// every rule of the format is enforced. Writing is in checkpoint/safetensors_writer.hpp.

namespace entrain::checkpoint {

inline constexpr std::uint64_t safetensors_max_header = 100'000'000;  // bytes; the format's own limit
inline constexpr std::size_t safetensors_max_tensors = 1'000'000;
inline constexpr std::size_t safetensors_max_rank = 64;

// An element type of the format. Those for which the library has no type are `dtype::bytes`: readable as bytes only.
struct safetensors_type {
  std::string_view name;
  dtype type;
  std::size_t bytes;
};

inline constexpr std::array<safetensors_type, 15> safetensors_types{{{"F64", dtype::f64, 8},
                                                                     {"F32", dtype::f32, 4},
                                                                     {"BF16", dtype::bf16, 2},
                                                                     {"I64", dtype::i64, 8},
                                                                     {"I32", dtype::i32, 4},
                                                                     {"I16", dtype::i16, 2},
                                                                     {"I8", dtype::i8, 1},
                                                                     {"U64", dtype::u64, 8},
                                                                     {"U32", dtype::u32, 4},
                                                                     {"U16", dtype::u16, 2},
                                                                     {"U8", dtype::u8, 1},
                                                                     {"F16", dtype::f16, 2},
                                                                     {"BOOL", dtype::bytes, 1},
                                                                     {"F8_E4M3", dtype::f8_e4m3, 1},
                                                                     {"F8_E5M2", dtype::f8_e5m2, 1}}};

// The format's name of an element type; bytes travel as U8.
constexpr const safetensors_type& safetensors_type_of(dtype type) {
  for (const auto& known : safetensors_types)
    if (known.type == type && type != dtype::bytes) return known;
  return safetensors_type_of(dtype::u8);
}

struct tensor_entry {
  std::string name;
  const safetensors_type* type = nullptr;
  shape dims;
  std::uint64_t begin = 0, end = 0;  // bytes, from the start of the data

  std::uint64_t bytes() const { return end - begin; }
  std::string description() const { return std::string(type->name) + " " + to_string(dims); }  // "F32 [2, 3]"
};

struct safetensors_header {
  std::vector<tensor_entry> tensors;  // in the order of their bytes
  std::vector<std::pair<std::string, std::string>> metadata;
};

namespace detail {

inline std::string quote(const std::string& name) { return json::quoted(name); }

// Bytes of a tensor, or nothing when the product leaves 64 bits.
inline std::optional<std::uint64_t> tensor_bytes(const shape& dims, std::size_t element_bytes) {
  std::uint64_t total = element_bytes;
  bool overflow = false;
  for (const std::uint64_t dim : dims) {
    if (dim == 0) return 0;  // empty, whatever the other dimensions say
    overflow = overflow || total > std::numeric_limits<std::uint64_t>::max() / dim;
    total *= dim;
  }
  return overflow ? std::nullopt : std::optional(total);
}

inline tensor_entry read_tensor_entry(json::reader& in, const std::string& name) {
  tensor_entry entry;
  entry.name = name;
  bool has_shape = false, has_offsets = false;
  in.object([&](const std::string& key) {
    if (key == "dtype") {
      const std::string text = in.string();
      for (const auto& known : safetensors_types)
        if (known.name == text) entry.type = &known;
      if (!entry.type)
        in.fail("tensor " + quote(name) + " has an element type that is not supported", "F64, F32, F16, BF16, I64, ..., U8, BOOL",
                quote(text));
    } else if (key == "shape") {
      has_shape = true;
      in.array([&] {
        if (entry.dims.size() == safetensors_max_rank) in.fail("tensor " + quote(name) + " has too many dimensions", "at most 64", "more");
        entry.dims.push_back(in.unsigned_integer());
      });
    } else if (key == "data_offsets") {
      has_offsets = true;
      std::array<std::uint64_t, 2> offsets{};
      std::size_t count = 0;
      in.array([&] {
        if (count == 2) in.fail("data_offsets of tensor " + quote(name), "two numbers", "more");
        offsets[count++] = in.unsigned_integer();
      });
      if (count != 2) in.fail("data_offsets of tensor " + quote(name), "two numbers", std::to_string(count));
      entry.begin = offsets[0], entry.end = offsets[1];
    } else {
      in.fail("tensor " + quote(name) + " has a member that the format does not know", "dtype, shape, data_offsets", quote(key));
    }
  });
  if (!entry.type || !has_shape || !has_offsets)
    in.fail("tensor " + quote(name) + " is incomplete", "dtype, shape and data_offsets", "one of them is missing");
  return entry;
}

// The tensors' bytes must fill the data without a hole or an overlap, and each must be as long as its shape says.
inline void check_tensor_entries(std::vector<tensor_entry>& tensors, std::uint64_t data_bytes, std::uint64_t data_offset,
                                 const std::string& where) {
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t next = 0;
  for (const auto& entry : tensors) {
    const auto fail = [&](const char* wrong, std::string expected, std::string found) {
      throw file_error(where + ":" + std::to_string(data_offset + next), "tensor " + quote(entry.name) + wrong, std::move(expected),
                       std::move(found));
    };
    if (entry.begin > entry.end)
      fail(" ends before it begins", "begin <= end", std::to_string(entry.begin) + " > " + std::to_string(entry.end));
    if (entry.begin != next)
      fail(entry.begin > next ? " leaves a hole before it" : " overlaps another", "data offset " + std::to_string(next),
           std::to_string(entry.begin));
    const auto bytes = tensor_bytes(entry.dims, entry.type->bytes);
    if (!bytes) fail(" is larger than 64 bits can count", "a possible shape", to_string(entry.dims));
    if (*bytes != entry.bytes())
      fail(" has data that do not fit its shape", std::to_string(*bytes) + " bytes for " + entry.description(),
           std::to_string(entry.bytes()));
    next = entry.end;
    if (next > data_bytes)
      fail(" reaches beyond the end of the file", "at most " + std::to_string(data_bytes) + " bytes of data", std::to_string(next));
  }
  if (next != data_bytes)
    throw file_error(where + ":" + std::to_string(data_offset + next), "data that belong to no tensor",
                     std::to_string(next) + " bytes of data", std::to_string(data_bytes));
}

}  // namespace detail

// Reads the JSON text of a header whose file holds `data_bytes` bytes after it. Throws file_error on anything that the
// format does not allow. Memory: in proportion to the text.
inline safetensors_header parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& where) {
  safetensors_header header;
  json::reader in(text, where, 8, 3);
  if (text.empty() || text[0] != '{')
    in.fail("the header is no JSON object", "'{' as its first byte", text.empty() ? "nothing" : json::quoted(text.substr(0, 1)));
  in.object([&](const std::string& name) {
    if (name == "__metadata__") {
      in.object([&](const std::string& key) { header.metadata.emplace_back(key, in.string()); });
    } else {
      if (header.tensors.size() == safetensors_max_tensors)
        in.fail("too many tensors", "at most " + std::to_string(safetensors_max_tensors), "more");
      header.tensors.push_back(detail::read_tensor_entry(in, name));
    }
  });
  in.end();
  detail::check_tensor_entries(header.tensors, data_bytes, 8 + text.size(), where);
  return header;
}

// An open safetensors file: the header is read and checked, tensors are read when asked for.
class safetensors_file {
 public:
  explicit safetensors_file(std::filesystem::path path) : path_(std::move(path)), file_(path_, O_RDONLY, "open the file") {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) detail::throw_file_error(path_, "ask for the file's size", errno);
    if (!S_ISREG(status.st_mode)) throw file_error(path_.string(), "not a regular file");
    size_ = std::uint64_t(status.st_size);
    if (size_ < 8) throw file_error(path_.string() + ":0", "too short for a safetensors file", "at least 8 bytes", std::to_string(size_));
    std::array<std::byte, 8> prefix{};
    read_at(0, prefix);
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8; ++i) length |= std::uint64_t(prefix[i]) << (8 * i);
    const std::uint64_t most = std::min(safetensors_max_header, size_ - 8);
    if (length > most)
      throw file_error(path_.string() + ":0", "impossible header length", "at most " + std::to_string(most), std::to_string(length));
    text_.resize(length);
    read_at(8, std::as_writable_bytes(std::span(text_)));
    header_ = parse_safetensors_header(text_, size_ - 8 - length, path_.string());
    by_name_.resize(header_.tensors.size());
    for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = i;
    std::sort(by_name_.begin(), by_name_.end(), [this](auto a, auto b) { return header_.tensors[a].name < header_.tensors[b].name; });
  }

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  std::string_view header_text() const { return text_; }
  const std::vector<tensor_entry>& tensors() const { return header_.tensors; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return header_.metadata; }

  const tensor_entry* find(std::string_view name) const {
    const auto found =
        std::lower_bound(by_name_.begin(), by_name_.end(), name, [this](auto i, auto n) { return header_.tensors[i].name < n; });
    return found != by_name_.end() && header_.tensors[*found].name == name ? &header_.tensors[*found] : nullptr;
  }
  const std::string* find_metadata(std::string_view key) const {
    for (const auto& [name, value] : header_.metadata)
      if (name == key) return &value;
    return nullptr;
  }

  // Copies a tensor's bytes, which must be exactly as many as `out`.
  void read(const tensor_entry& entry, std::span<std::byte> out) const {
    if (out.size() != entry.bytes())
      throw usage_error(path_.string(), "tensor " + detail::quote(entry.name) + " read into memory of another size",
                        std::to_string(entry.bytes()) + " bytes", std::to_string(out.size()));
    read_at(8 + text_.size() + entry.begin, out);
  }

  // Raw bytes of the file. A file that ends early (it was cut while open) is a file_error.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const {
    constexpr std::size_t chunk = std::size_t(1) << 30;
    while (!out.empty()) {
      const auto count = ::pread(file_.get(), out.data(), std::min(out.size(), chunk), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::throw_file_error(path_, "read at offset " + std::to_string(offset), errno);
      if (count == 0)
        throw file_error(path_.string() + ":" + std::to_string(offset), "the file ends early", std::to_string(out.size()) + " more bytes",
                         "none");
      out = out.subspan(std::size_t(count));
      offset += std::uint64_t(count);
    }
  }

 private:
  std::filesystem::path path_;
  detail::descriptor file_;
  std::uint64_t size_ = 0;
  std::string text_;
  safetensors_header header_;
  std::vector<std::size_t> by_name_;
};

}  // namespace entrain::checkpoint
