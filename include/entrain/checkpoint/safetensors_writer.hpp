// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <entrain/checkpoint/atomic_file.hpp>
#include <entrain/checkpoint/crc32c.hpp>
#include <entrain/checkpoint/safetensors.hpp>

// Writing the safetensors format, atomically (checkpoint/atomic_file.hpp) and in one pass over the data. Tensors of
// wider elements come first, so that each begins at a multiple of its element size.
//
// The file carries a CRC-32C of itself, header included, as the first entry of its metadata: eight digits that count as
// "00000000" for the checksum. Any tool reads such a file; verify_safetensors() finds any flipped bit in it.

namespace entrain::checkpoint {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian; this processor is not supported");

class safetensors_writer {
 public:
  using sink = std::function<void(std::span<const std::byte>)>;
  using producer = std::function<void(const sink&)>;  // hands the tensor's bytes to the sink, in pieces of any size

  // Bytes that stay where they are until write().
  void add(std::string name, dtype type, shape dims, std::span<const std::byte> bytes) {
    append({std::move(name), type, std::move(dims), bytes.size(), bytes, {}});
  }
  // Bytes that are made while the file is written.
  void add(std::string name, dtype type, shape dims, producer make) {
    const auto bytes = detail::tensor_bytes(dims, size_of(type)).value_or(0);
    append({std::move(name), type, std::move(dims), bytes, {}, std::move(make)});
  }
  void add_metadata(std::string key, std::string value) {
    if (json::find_invalid_utf8(key) != key.npos || json::find_invalid_utf8(value) != value.npos)
      throw usage_error("safetensors_writer", "metadata " + detail::quote(key) + " is not UTF-8");
    for (const auto& entry : metadata_)
      if (entry.first == key) throw usage_error("safetensors_writer", "two metadata entries are named " + detail::quote(key));
    metadata_.emplace_back(std::move(key), std::move(value));
  }

  // Writes the file and publishes it. Throws file_error; then the file of this name, if there was one, still stands.
  void write(const std::filesystem::path& path) const;

 private:
  struct item {
    std::string name;
    dtype type;
    shape dims;
    std::uint64_t bytes;
    std::span<const std::byte> memory;
    producer make;
  };

  void append(item next) {
    const auto where = "safetensors_writer, tensor " + detail::quote(next.name);
    if (next.name == "__metadata__" || json::find_invalid_utf8(next.name) != next.name.npos)
      throw usage_error(where, "not a name for a tensor");
    const auto expected = detail::tensor_bytes(next.dims, size_of(next.type));
    if (!expected || *expected != next.bytes || next.dims.size() > safetensors_max_rank)
      throw usage_error(where, "bytes do not fit the shape",
                        entrain::detail::text(expected.value_or(0), " bytes for ", name_of(next.type), " ", to_string(next.dims)),
                        std::to_string(next.bytes));
    if (!names_.insert(next.name).second) throw usage_error(where, "two tensors have this name");
    items_.push_back(std::move(next));
  }
  std::vector<std::size_t> order() const {
    std::vector<std::size_t> order(items_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [this](auto a, auto b) { return size_of(items_[a].type) > size_of(items_[b].type); });
    return order;
  }
  std::string header(const std::vector<std::size_t>& order) const;
  void write_item(const item& next, const sink& out) const;

  std::vector<item> items_;
  std::unordered_set<std::string> names_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

namespace detail {
// Every file of ours begins its header so; the eight digits of the checksum follow.
inline constexpr std::string_view checksum_prefix = "{\"__metadata__\":{\"entrain.crc32c\":\"";
inline constexpr std::size_t checksum_digits = 8;

inline std::string checksum_text(std::uint32_t value) {
  std::string text(checksum_digits, '0');
  for (std::size_t i = checksum_digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15u];
  return text;
}
}  // namespace detail

inline std::string safetensors_writer::header(const std::vector<std::size_t>& order) const {
  std::string out(detail::checksum_prefix);
  out += "00000000\"";
  for (const auto& [key, value] : metadata_) {
    json::append_quoted(out += ',', key);
    json::append_quoted(out += ':', value);
  }
  out += '}';
  std::uint64_t offset = 0;
  for (const std::size_t i : order) {
    const auto& next = items_[i];
    json::append_quoted(out += ',', next.name);
    ((out += ":{\"dtype\":\"") += safetensors_type_of(next.type).name) += "\",\"shape\":[";
    for (std::size_t d = 0; d < next.dims.size(); ++d) (out += d ? "," : "") += std::to_string(next.dims[d]);
    ((out += "],\"data_offsets\":[") += std::to_string(offset)) += ',';
    (out += std::to_string(offset + next.bytes)) += "]}";
    offset += next.bytes;
  }
  out += '}';
  out.append((8 - out.size() % 8) % 8, ' ');
  return out;
}

inline void safetensors_writer::write_item(const item& next, const sink& out) const {
  if (!next.make) return out(next.memory);
  std::uint64_t made = 0;
  next.make([&](std::span<const std::byte> bytes) {
    made += bytes.size();
    out(bytes);
  });
  if (made != next.bytes)
    throw usage_error("safetensors_writer, tensor " + detail::quote(next.name), "the producer made another number of bytes",
                      std::to_string(next.bytes), std::to_string(made));
}

inline void safetensors_writer::write(const std::filesystem::path& path) const {
  const auto sorted = order();
  const std::string text = header(sorted);
  if (text.size() > safetensors_max_header || items_.size() > safetensors_max_tensors)
    throw usage_error(path.string(), "too many tensors for one safetensors file",
                      entrain::detail::text("a header of at most ", safetensors_max_header, " bytes"), std::to_string(text.size()));
  atomic_file file(path);
  crc32c sum;
  const sink out = [&](std::span<const std::byte> bytes) {
    sum.update(bytes);
    file.write(bytes);
  };
  std::array<std::byte, 8> length{};
  for (std::size_t i = 0; i < 8; ++i) length[i] = std::byte((text.size() >> (8 * i)) & 255u);
  out(length);
  out(std::as_bytes(std::span(text)));
  for (const std::size_t i : sorted) write_item(items_[i], out);
  const std::string digits = detail::checksum_text(sum.value());
  file.write_at(8 + detail::checksum_prefix.size(), std::as_bytes(std::span(digits)));
  file.commit();
}

// Reads the whole file once and holds it against its checksum. Throws file_error when they differ, or when the file has
// none (it was written by another program).
inline void verify_safetensors(const safetensors_file& file) {
  const std::uint64_t at = 8 + detail::checksum_prefix.size();
  if (!file.header_text().starts_with(detail::checksum_prefix) || file.header_text().size() < at + detail::checksum_digits)
    throw file_error(file.path().string() + ":8", "no checksum that could be verified", "metadata that begin with entrain.crc32c", "none");
  std::vector<std::byte> chunk(std::size_t(std::min<std::uint64_t>(file.size(), 1u << 20)));
  std::string stored(detail::checksum_digits, ' ');
  file.read_at(at, std::as_writable_bytes(std::span(stored)));
  crc32c sum;
  for (std::uint64_t offset = 0; offset < file.size(); offset += chunk.size()) {
    const auto part = std::span(chunk).first(std::size_t(std::min<std::uint64_t>(chunk.size(), file.size() - offset)));
    file.read_at(offset, part);
    for (std::uint64_t i = at; i < at + detail::checksum_digits; ++i)
      if (i >= offset && i < offset + part.size()) part[std::size_t(i - offset)] = std::byte('0');
    sum.update(part);
  }
  if (const auto computed = detail::checksum_text(sum.value()); computed != stored)
    throw file_error(file.path().string(), "damaged: the checksum does not match the bytes", stored, computed);
}

}  // namespace entrain::checkpoint
