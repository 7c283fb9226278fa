// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>

// The map of a model's parameters: named blocks in one flat arena. Every rank allocates one arena for parameters and one
// for gradients by this map; a block's values are arena[offset, offset + count). Blocks begin at multiples of 16 elements
// (64 bytes in fp32); the padding between them is zero and stays zero.

namespace entrain {

using shape = std::vector<std::size_t>;

inline std::size_t elements(const shape& dims) {
  std::size_t product = 1;  // a loop, because <numeric> and <functional> are a third of this header's preprocessed lines
  for (const auto dim : dims) product *= dim;
  return product;
}

inline std::string to_string(const shape& dims) {
  std::string out = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) out += (i ? ", " : "") + std::to_string(dims[i]);
  return out + "]";
}

enum class block_kind {
  weight,     // trained, decayed by optimizers that decay weights (matrices, kernels, embeddings)
  vector,     // trained, not decayed (biases, norm gains)
  statistic,  // not trained: the "gradient" is this step's observation, summed over samples (batch norm's running values)
};

struct parameter_block {
  std::string name;
  shape dims;
  block_kind kind = block_kind::weight;
  std::size_t offset = 0;  // elements from the start of the arena
  std::size_t count = 0;   // elements
};

class parameter_layout {
 public:
  static constexpr std::size_t alignment = 16;  // elements

  parameter_layout() = default;
  // {{"weight", {10, 3}}, {"bias", {10}}}: blocks of one dimension are vectors, the others weights.
  parameter_layout(std::initializer_list<std::pair<std::string, shape>> blocks) {
    for (const auto& [name, dims] : blocks) add(name, dims, dims.size() > 1 ? block_kind::weight : block_kind::vector);
  }

  // Appends a block and returns its index. Offsets are final when the last block has been added; statistics lie first.
  std::size_t add(std::string name, shape dims, block_kind kind) {
    for (const auto& block : blocks_)
      if (block.name == name) throw usage_error("parameter_layout", "two parameter blocks are named '" + name + "'");
    const auto count = elements(dims);
    blocks_.push_back({std::move(name), std::move(dims), kind, 0, count});
    place();
    return blocks_.size() - 1;
  }

  const std::vector<parameter_block>& blocks() const { return blocks_; }
  const parameter_block& operator[](std::size_t index) const { return blocks_[index]; }
  std::size_t size() const { return total_; }                       // elements of the arena, padding included
  std::size_t trainable_begin() const { return trainable_begin_; }  // [0, trainable_begin) are statistics, the rest is trained
  std::size_t trainable_size() const { return total_ - trainable_begin_; }
  std::size_t parameter_count() const {                             // without padding and statistics
    std::size_t sum = 0;
    for (const auto& block : blocks_) sum += block.kind == block_kind::statistic ? 0 : block.count;
    return sum;
  }
  std::size_t find(std::string_view name) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      if (blocks_[i].name == name) return i;
    throw usage_error("parameter_layout", "no parameter block is named '" + std::string(name) + "'");
  }

 private:
  void place() {
    total_ = 0;
    for (const bool statistics : {true, false}) {
      for (auto& block : blocks_)
        if ((block.kind == block_kind::statistic) == statistics) {
          block.offset = total_;
          total_ += (block.count + alignment - 1) / alignment * alignment;
        }
      if (statistics) trainable_begin_ = total_;
    }
  }
  std::vector<parameter_block> blocks_;
  std::size_t total_ = 0, trainable_begin_ = 0;
};

}  // namespace entrain
