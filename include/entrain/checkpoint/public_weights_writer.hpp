// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/checkpoint/safetensors_set.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>
#include <entrain/checkpoint/weight_table.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>

// A parameter arena as safetensors files with public names, for other programs: the reverse of checkpoint/public_weights.hpp. Tied
// tensors are written once. The metadata say {"format": "pt"}, without which common loaders refuse a file.
//
//   checkpoint::save_public_weights("model.safetensors", model.layout(), parameters, checkpoint::gpt2_weights, {.type = dtype::bf16});
//
// Files appear whole or not at all. Several files and their index do not appear at once: the index, written last, makes them visible.

namespace entrain::checkpoint {

struct save_weights_options {
  dtype type = dtype::f32;         // or dtype::bf16
  bool prefix = true;              // names begin with the table's prefix
  std::size_t rows = 0;            // of blocks that the table calls padded: so many first rows are written; 0: all
  std::uint64_t shard_bytes = 0;   // more data than this go into several files, at least one tensor in each; 0: one file
};

namespace detail {

// What a block looks like in the file.
struct public_tensor {
  const parameter_block* block;
  std::string name;
  shape dims;
  bool transposed;
};

inline std::vector<public_tensor> public_tensors(const parameter_layout& layout, const weight_table& table, const save_weights_options& options) {
  if (options.type != dtype::f32 && options.type != dtype::bf16)
    throw usage_error("checkpoint::save_public_weights", "a type in which weights are not written", "f32 or bf16", std::string(name_of(options.type)));
  std::vector<public_tensor> out;
  for (const auto& block : layout.blocks()) {
    public_tensor next{&block, (options.prefix ? std::string(table.prefix) : std::string()) + public_name(table, block.name), block.dims,
                       find_rule(table, weight_action::transposed, block.name) != nullptr};
    if (next.transposed) {
      if (next.dims.size() != 2)
        throw usage_error("checkpoint::weight_table", "a rule transposes block " + quote(block.name), "a block of two dimensions", to_string(next.dims));
      std::swap(next.dims[0], next.dims[1]);
    } else if (options.rows > 0 && find_rule(table, weight_action::padded, block.name)) {
      if (next.dims.empty() || options.rows > next.dims[0])
        throw usage_error("checkpoint::save_public_weights", "more rows asked for than block " + quote(block.name) + " has", to_string(next.dims), std::to_string(options.rows));
      next.dims[0] = options.rows;
    }
    out.push_back(std::move(next));
  }
  return out;
}

// Hands the values to the sink in the file's order and type, a chunk at a time.
template <class Stored, class T>
void produce_values(const public_tensor& tensor, std::span<const T> values, const safetensors_writer::sink& out) {
  constexpr std::size_t most = std::size_t(1) << 14;
  const std::size_t count = elements(tensor.dims);
  const std::size_t rows = tensor.transposed ? tensor.block->dims[0] : 1, columns = tensor.transposed ? tensor.block->dims[1] : 0;
  std::vector<Stored> chunk(std::min(count, most));
  for (std::size_t first = 0; first < count; first += most) {
    const auto part = std::span(chunk).first(std::min(most, count - first));
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::size_t at = first + i;
      part[i] = Stored(float(values[tensor.transposed ? at % rows * columns + at / rows : at]));
    }
    out(std::as_bytes(part));
  }
}

template <class T>
void add_tensor(safetensors_writer& out, const public_tensor& tensor, std::span<const T> arena, dtype type) {
  const auto values = arena.subspan(tensor.block->offset, tensor.block->count);
  out.add(tensor.name, type, tensor.dims, [&tensor, values, type](const safetensors_writer::sink& sink) {
    if (type == dtype::f32) produce_values<float>(tensor, values, sink);
    else produce_values<bfloat16>(tensor, values, sink);
  });
}

// How many tensors go into each file: in order, each file as full as shard_bytes allows.
inline std::vector<std::size_t> shard_sizes(const std::vector<public_tensor>& tensors, const save_weights_options& options) {
  std::vector<std::size_t> counts(1, 0);
  std::uint64_t filled = 0;
  for (const auto& tensor : tensors) {
    const std::uint64_t bytes = elements(tensor.dims) * size_of(options.type);
    if (options.shard_bytes > 0 && counts.back() > 0 && filled + bytes > options.shard_bytes) counts.push_back(0), filled = 0;
    ++counts.back();
    filled += bytes;
  }
  return counts;
}

// "model.safetensors" -> "model-00002-of-00003.safetensors".
inline std::filesystem::path shard_path(const std::filesystem::path& path, std::size_t number, std::size_t of) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "-%05zu-of-%05zu", number, of);
  return path.parent_path() / (path.stem().string() + digits + path.extension().string());
}

}  // namespace detail

// Writes "model.safetensors", or, with more than options.shard_bytes of data, "model-00001-of-0000N.safetensors", ... and
// "model.safetensors.index.json" beside each other; then a file `path` from before is removed, lest a loader prefer it. Values are
// rounded to nearest. Throws file_error where a file cannot be written and usage_error for options that cannot be met.
template <element T>
void save_public_weights(const std::filesystem::path& path, const parameter_layout& layout, std::span<T> arena, const weight_table& table = gpt2_weights,
                         const save_weights_options& options = {}) {
  if (arena.size() < layout.size())
    throw usage_error("checkpoint::save_public_weights", "an arena smaller than its layout", std::to_string(layout.size()), std::to_string(arena.size()));
  const auto tensors = detail::public_tensors(layout, table, options);
  const auto counts = detail::shard_sizes(tensors, options);
  std::vector<std::pair<std::string, std::string>> weight_map;
  std::uint64_t total = 0;
  std::size_t next = 0;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    const auto file = counts.size() == 1 ? path : detail::shard_path(path, s + 1, counts.size());
    safetensors_writer out;
    out.add_metadata("format", "pt");
    for (const std::size_t end = next + counts[s]; next < end; ++next) {
      detail::add_tensor<std::remove_const_t<T>>(out, tensors[next], arena, options.type);
      weight_map.emplace_back(tensors[next].name, file.filename().string());
      total += elements(tensors[next].dims) * size_of(options.type);
    }
    out.write(file);
  }
  if (counts.size() == 1) return;
  write_safetensors_index(path.string() + ".index.json", weight_map, total);
  std::error_code gone;
  std::filesystem::remove(path, gone);
}

}  // namespace entrain::checkpoint
