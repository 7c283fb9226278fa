// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/checkpoint/safetensors_set.hpp>
#include <entrain/checkpoint/weight_table.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/small_float.hpp>

// Weights that others trained, from safetensors files with their public names, into a parameter arena on the host.
//
//   checkpoint::load_public_weights("gpt2/model.safetensors", model.layout(), parameters);                 // checkpoint::gpt2_weights
//   checkpoint::load_public_weights("other", model.layout(), parameters, my_weights, {.padded = true});    // weight_table.hpp
//
// F32, F16 and BF16 in the file, float, double or a 16-bit float in memory. A block that the file lacks, a tensor that no block takes, a
// shape or a type that does not fit: each is a file_error that names file and tensor, and then nothing has been written to the arena.
// For a trainer, on all its ranks: trainer/public_weights.hpp. Writing: checkpoint/public_weights_writer.hpp.
// Cost: the file is read once, twice with a checksum of ours; memory beside the arena: two small chunks.

namespace entrain::checkpoint {

struct load_weights_options {
  bool padded = false;  // the model may have more rows than the file where the table says so; those keep their values
  bool verify = true;   // hold files with a checksum of this library against it
};

namespace detail {

inline constexpr std::size_t weights_chunk = std::size_t(1) << 14;  // elements

inline bool is_weight_type(const safetensors_type& type) { return type.type == dtype::f32 || type.type == dtype::f16 || type.type == dtype::bf16; }

template <class From>
void widen(std::span<const std::byte> bytes, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = float(value);
  }
}

// use(first, values) for one chunk after the other of a tensor's elements, as floats.
template <class Use>
void each_chunk(const safetensors_set::tensor& from, Use&& use) {
  const auto& [file, entry] = from;
  const std::size_t width = entry->type->bytes, count = std::size_t(entry->bytes() / width);
  std::vector<std::byte> bytes(std::min(count, weights_chunk) * width);
  std::vector<float> values(std::min(count, weights_chunk));
  for (std::size_t first = 0; first < count; first += weights_chunk) {
    const auto part = std::span(values).first(std::min(weights_chunk, count - first));
    const auto raw = std::span(bytes).first(part.size() * width);
    file->read_at(8 + file->header_text().size() + entry->begin + first * width, raw);
    if (entry->type->type == dtype::f32) widen<float>(raw, part);
    else if (entry->type->type == dtype::f16) widen<float16>(raw, part);
    else widen<bfloat16>(raw, part);
    use(first, std::span<const float>(part));
  }
}

// "'a', 'b', 'c' and 5 more".
inline std::string some_of(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 4); ++i) out += (i ? ", " : "") + quote(names[i]);
  return names.size() > 4 ? out + " and " + std::to_string(names.size() - 4) + " more" : out;
}

// Which tensor of a set of files fills which block; everything is checked before anything is read.
class weights_plan {
 public:
  weights_plan(const safetensors_set& files, const parameter_layout& layout, const weight_table& table, const load_weights_options& options)
      : files_(files), layout_(layout), table_(table), options_(options), tensors_(layout.blocks().size()) {
    match_names();
    for (std::size_t b = 0; b < tensors_.size(); ++b) check_shape(layout_[b], tensors_[b]);
    for (const auto& [repeated, block] : ties_) check_tie(repeated, tensors_[block]);
  }

  template <class T>
  void read(std::span<T> arena) const {
    for (std::size_t b = 0; b < tensors_.size(); ++b) {
      const auto& block = layout_[b];
      const std::span<T> out = arena.subspan(block.offset, block.count);
      if (!is_transposed(block))
        each_chunk(tensors_[b], [&](std::size_t first, std::span<const float> values) {
          for (std::size_t i = 0; i < values.size(); ++i) out[first + i] = T(values[i]);
        });
      else
        each_chunk(tensors_[b], [&](std::size_t first, std::span<const float> values) {
          const std::size_t rows = block.dims[0], columns = block.dims[1];  // the file has columns x rows
          for (std::size_t i = 0; i < values.size(); ++i) out[(first + i) % rows * columns + (first + i) / rows] = T(values[i]);
        });
    }
  }

 private:
  using tensor = safetensors_set::tensor;

  bool is_transposed(const parameter_block& block) const { return find_rule(table_, weight_action::transposed, block.name) != nullptr; }

  void match_names() {
    std::map<std::string, std::size_t, std::less<>> index;
    for (std::size_t b = 0; b < tensors_.size(); ++b) index.emplace(layout_[b].name, b);
    std::vector<std::string> unknown, missing;
    for (const auto& next : files_.tensors()) {
      const std::string_view name = without_prefix(table_, next.entry->name);
      if (find_rule(table_, weight_action::skipped, name)) continue;
      const auto* tie = find_rule(table_, weight_action::tied, name);
      const auto found = index.find(tie ? std::string(tie->other) : block_name(table_, name));
      if (found == index.end()) unknown.push_back(next.entry->name);
      else if (tie) ties_.emplace_back(next, found->second);
      else place(next, found->second);
    }
    for (std::size_t b = 0; b < tensors_.size(); ++b)
      if (!tensors_[b].entry) missing.push_back(public_name(table_, layout_[b].name));
    if (!missing.empty() || !unknown.empty())
      throw file_error(files_.path().string(), "not the weights of this model",
                       missing.empty() ? "tensors of " + std::to_string(tensors_.size()) + " parameter blocks and no others" : "also " + some_of(missing),
                       unknown.empty() ? "no tensors of these names" : "tensors that the model does not have: " + some_of(unknown));
  }

  void place(const tensor& next, std::size_t b) {
    if (tensors_[b].entry)
      throw file_error(next.file->path().string(), "two tensors for parameter block " + quote(layout_[b].name), "one",
                       quote(tensors_[b].entry->name) + " and " + quote(next.entry->name));
    tensors_[b] = next;
  }

  void check_shape(const parameter_block& block, const tensor& given) const {
    shape wanted = block.dims;
    if (is_transposed(block)) {
      if (wanted.size() != 2) throw usage_error("checkpoint::weight_table", "a rule transposes block " + quote(block.name), "a block of two dimensions", to_string(wanted));
      std::swap(wanted[0], wanted[1]);
    }
    const auto& entry = *given.entry;
    const auto fail = [&](const std::string& wrong) {
      throw file_error(given.file->path().string(), "tensor " + quote(entry.name) + wrong, "F32, F16 or BF16 " + to_string(wanted), entry.description());
    };
    if (!is_weight_type(*entry.type)) fail(" has a type that weights do not have");
    if (entry.dims == wanted) return;
    shape rows = entry.dims;
    if (!rows.empty()) rows[0] = wanted[0];
    const bool fewer = rows == wanted && entry.dims[0] < wanted[0] && !is_transposed(block) && find_rule(table_, weight_action::padded, block.name);
    if (!fewer) fail(" does not have the shape of the model's block");
    if (!options_.padded) fail(" has fewer rows than the model's block: allow it by load_weights_options::padded, and the other rows keep their values");
  }

  void check_tie(const tensor& repeated, const tensor& first) const {
    const auto where = repeated.file->path().string();
    const std::string what = "tensor " + quote(repeated.entry->name) + " is tied in this model";
    if (repeated.entry->dims != first.entry->dims || !is_weight_type(*repeated.entry->type))
      throw file_error(where, what, "the same as " + quote(first.entry->name) + ", " + first.entry->description(), repeated.entry->description());
    std::vector<float> theirs;
    each_chunk(repeated, [&](std::size_t begin, std::span<const float> values) {
      theirs.resize(values.size());
      read_floats(first, begin, theirs);
      const auto differs = std::mismatch(values.begin(), values.end(), theirs.begin()).first;
      if (differs != values.end())
        throw file_error(where, what, "the same values as " + quote(first.entry->name),
                         "another value at element " + std::to_string(begin + std::size_t(differs - values.begin())));
    });
  }

  static void read_floats(const tensor& from, std::size_t begin, std::span<float> out) {
    tensor_entry part = *from.entry;
    part.begin += begin * part.type->bytes;
    part.end = part.begin + out.size() * part.type->bytes;
    each_chunk({from.file, &part}, [&](std::size_t first, std::span<const float> values) { std::copy(values.begin(), values.end(), out.begin() + std::ptrdiff_t(first)); });
  }

  const safetensors_set& files_;
  const parameter_layout& layout_;
  const weight_table& table_;
  load_weights_options options_;
  std::vector<tensor> tensors_;  // by block
  std::vector<std::pair<tensor, std::size_t>> ties_;
};

}  // namespace detail

// Fills `arena`, laid out by `layout`. `path`: a file, an index or a directory (safetensors_set.hpp). Throws file_error; the arena is then
// as it was, unless a file that was whole when it was opened cannot be read to its end.
template <element T>
void load_public_weights(const std::filesystem::path& path, const parameter_layout& layout, std::span<T> arena, const weight_table& table = gpt2_weights,
                         const load_weights_options& options = {}) {
  if (arena.size() < layout.size())
    throw usage_error("checkpoint::load_public_weights", "an arena smaller than its layout", std::to_string(layout.size()), std::to_string(arena.size()));
  const safetensors_set files(path);
  const detail::weights_plan plan(files, layout, table, options);
  if (options.verify) files.verify();
  plan.read(arena);
}

}  // namespace entrain::checkpoint
