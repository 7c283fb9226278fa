// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/state.hpp>

// What a trainer saves: named tensors, scalars, texts and visitable states, collected as references and written at once.
//
//   archive out;                                      auto in = archive::load(path);
//   out.add("weight", weights, {10, 3});              in.read("weight", std::span(weights));
//   out.add_scalar("step", step);                     in.read_scalar("step", step);
//   out.add_state("optimizer", state);                in.read_state("optimizer", state);
//   out.save(path);
//
// Nothing but scalars and texts is copied: what was added must live, unchanged, until save() returns. The file is a plain
// safetensors file with a checksum. Names and shapes are global, never of a rank. An element type without a name in the
// format (a structure) is stored as bytes, U8 [n, sizeof(T)].

namespace entrain::checkpoint {

class archive;

// An opened and verified archive. Every error names the file and the tensor, and says what was expected and found.
class loaded_archive {
 public:
  explicit loaded_archive(const std::filesystem::path& path) : file_(path) { verify_safetensors(file_); }

  const std::filesystem::path& path() const { return file_.path(); }
  bool contains(std::string_view name) const { return file_.find(name) != nullptr; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : file_.tensors()) out.push_back(entry.name);
    return out;
  }
  // Elements of a tensor, for whoever must make room before he reads.
  std::size_t count(std::string_view name) const { return std::size_t(entry(name, "any").bytes() / entry(name, "any").type->bytes); }
  const shape& dims(std::string_view name) const { return entry(name, "any").dims; }
  const std::string* text(std::string_view key) const { return file_.find_metadata(key); }

  // Reads a tensor of exactly out.size() elements of type T; with `dims`, of exactly this shape.
  template <element T>
  requires(!std::is_const_v<T>) void read(std::string_view name, std::span<T> out, const std::optional<shape>& dims = {}) const {
    constexpr dtype type = dtype_of<T>::value;
    const auto& stored = safetensors_type_of(type);
    const std::string wanted = std::string(stored.name) +
                               (dims ? " " + to_string(*dims) : " with " + std::to_string(out.size_bytes() / stored.bytes) + " elements");
    const auto& found = entry(name, wanted);
    if (found.type != &stored || found.bytes() != out.size_bytes() || (dims && *dims != found.dims))
      throw file_error(path().string(), "tensor " + detail::quote(std::string(name)) + " is not what the program holds", wanted,
                       found.description());
    file_.read(found, std::as_writable_bytes(out));
  }

  template <class T>
  requires std::is_arithmetic_v<T>
  void read_scalar(std::string_view name, T& value) const { read(name, std::span<T>(&value, 1)); }
  template <class T>
  requires std::is_arithmetic_v<T> T read_scalar(std::string_view name)
  const {
    T value{};
    read_scalar(name, value);
    return value;
  }

  // Fills a visitable state that was saved under this prefix; its sizes must already be those that were saved.
  template <visitable State> void read_state(std::string_view prefix, State& state) const;

  // Fills a parameter arena by block name.
  template <element T> void read_blocks(std::string_view prefix, const parameter_layout& layout, std::span<T> arena) const;

 private:
  const tensor_entry& entry(std::string_view name, const std::string& wanted) const {
    const auto* found = file_.find(name);
    if (!found)
      throw file_error(path().string(), "tensor " + detail::quote(std::string(name)) + " is missing", wanted, "no tensor of this name");
    return *found;
  }
  safetensors_file file_;
};

class archive {
 public:
  // A tensor; without `dims` it is a vector. Takes spans, vectors that outlive save(), buffers.
  template <class Range>
  requires std::ranges::contiguous_range<Range> && std::ranges::borrowed_range<Range> && element<std::ranges::range_value_t<Range>>
  void add(std::string name, Range&& values, std::optional<shape> dims = {}) {
    using value = std::ranges::range_value_t<Range>;
    const std::span<const value> span(std::ranges::data(values), std::ranges::size(values));
    shape form = dims ? std::move(*dims) : shape{span.size()};
    if (elements(form) != span.size())
      throw usage_error("archive, tensor " + detail::quote(name), "the shape does not fit the values", to_string(form),
                        std::to_string(span.size()) + " values");
    if constexpr (dtype_of<value>::value == dtype::bytes) form.push_back(sizeof(value));
    items_.push_back({std::move(name), dtype_of<value>::value, std::move(form), std::as_bytes(span), {}, 0});
  }

  // A scalar, kept exactly: a tensor of one element.
  template <class T>
  requires std::is_arithmetic_v<T>
  void add_scalar(std::string name, T value) {
    static_assert(sizeof(T) <= 16);
    item next{std::move(name), dtype_of<T>::value, shape{1}, {}, {}, sizeof(T)};
    if constexpr (dtype_of<T>::value == dtype::bytes) next.dims.push_back(sizeof(T));
    std::memcpy(next.scalar.data(), &value, sizeof(T));
    items_.push_back(std::move(next));
  }

  void add_text(std::string key, std::string value) { texts_.emplace_back(std::move(key), std::move(value)); }

  // Everything that a state shows to a visitor, as "prefix.name".
  template <visitable State> void add_state(std::string_view prefix, State& state);

  // The blocks of a parameter arena, each as "prefix.block" with its shape; the padding between them is left out.
  template <element T> void add_blocks(std::string_view prefix, const parameter_layout& layout, std::span<T> arena);

  void save(const std::filesystem::path& path) const {
    safetensors_writer out;
    for (const auto& [key, value] : texts_) out.add_metadata(key, value);
    for (const auto& next : items_)
      out.add(next.name, next.type, next.dims, next.scalar_bytes ? std::span(next.scalar).first(next.scalar_bytes) : next.bytes);
    out.write(path);
  }

  static loaded_archive load(const std::filesystem::path& path) { return loaded_archive(path); }

 private:
  struct item {
    std::string name;
    dtype type;
    shape dims;
    std::span<const std::byte> bytes;
    std::array<std::byte, 16> scalar;
    std::size_t scalar_bytes;
  };
  std::vector<item> items_;
  std::vector<std::pair<std::string, std::string>> texts_;
};

namespace detail {
inline std::string join(std::string_view prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : std::string(prefix) + "." + std::string(name);
}
}  // namespace detail

// Visitors for core/state.hpp: state.visit(save_visitor{out, "optimizer"}) and state.visit(load_visitor{in, "optimizer"}).
struct save_visitor {
  archive& out;
  std::string prefix;
  template <class T> void operator()(std::string_view name, std::span<T> values) const { out.add(detail::join(prefix, name), values); }
  template <class T>
  requires std::is_arithmetic_v<T>
  void operator()(std::string_view name, T& value) const { out.add_scalar(detail::join(prefix, name), value); }
};

struct load_visitor {
  const loaded_archive& in;
  std::string prefix;
  template <class T> void operator()(std::string_view name, std::span<T> values) const { in.read(detail::join(prefix, name), values); }
  template <class T>
  requires std::is_arithmetic_v<T>
  void operator()(std::string_view name, T& value) const { in.read_scalar(detail::join(prefix, name), value); }
};

template <visitable State> void archive::add_state(std::string_view prefix, State& state) {
  state.visit(save_visitor{*this, std::string(prefix)});
}

template <visitable State> void loaded_archive::read_state(std::string_view prefix, State& state) const {
  state.visit(load_visitor{*this, std::string(prefix)});
}

template <element T> void archive::add_blocks(std::string_view prefix, const parameter_layout& layout, std::span<T> arena) {
  if (arena.size() < layout.size())
    throw usage_error("archive", "an arena smaller than its layout", std::to_string(layout.size()), std::to_string(arena.size()));
  for (const auto& block : layout.blocks()) add(detail::join(prefix, block.name), arena.subspan(block.offset, block.count), block.dims);
}

template <element T> void loaded_archive::read_blocks(std::string_view prefix, const parameter_layout& layout, std::span<T> arena) const {
  if (arena.size() < layout.size())
    throw usage_error("archive", "an arena smaller than its layout", std::to_string(layout.size()), std::to_string(arena.size()));
  for (const auto& block : layout.blocks()) read(detail::join(prefix, block.name), arena.subspan(block.offset, block.count), block.dims);
}

}  // namespace entrain::checkpoint
