// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda.hpp>

// The map by which one launch updates a whole arena: the trained blocks in [begin, end) of it, cut into chunks of at most 4096 elements,
// one a thread block. Made once; it also holds what norms leave between two kernels, so that a step allocates nothing. 16 bytes of map and
// 16 of sums a chunk: 0.01 bytes a parameter. All work that uses one table belongs on one stream.

namespace entrain::device {

struct update_chunk {
  std::uint64_t offset;  // from the table's first element
  std::uint32_t count, block;
};
struct update_block {
  std::uint32_t first_chunk, chunks;
  std::uint32_t weight;  // 1: decays
  std::uint32_t padding = 0;
};
// The rate of a block that takes steps by its own norm.
struct block_rate {
  double rate;
  std::uint32_t moves, padding;
};

// What kernels are given of a table.
struct update_map {
  const update_chunk* chunks;
  const update_block* blocks;
  const block_rate* rates;
  std::uint64_t begin;
  bool wide;  // all chunks begin at multiples of four
};

class update_table {
 public:
  static constexpr std::size_t chunk_size = 4096;

  // For all that is trained. Arrays that are given with the table begin at layout.trainable_begin().
  explicit update_table(const parameter_layout& layout) : update_table(layout, layout.trainable_begin(), layout.size()) {}
  // For a part: arrays begin at element `begin` of the arena.
  update_table(const parameter_layout& layout, std::size_t begin, std::size_t end) : begin_(begin) {
    std::vector<update_chunk> chunks;
    std::vector<update_block> blocks;
    for (const auto& block : layout.blocks()) {
      const auto first_chunk = std::uint32_t(chunks.size());
      const std::size_t from = std::max(begin, block.offset), to = std::min(end, block.offset + block.count);
      if (block.kind != block_kind::statistic && from < to) {
        cut_ = cut_ || to - from < block.count;
        for (std::size_t at = from; at < to; at += chunk_size)
          chunks.push_back({at - begin, std::uint32_t(std::min(chunk_size, to - at)), std::uint32_t(blocks.size())});
        wide_ = wide_ && (from - begin) % 4 == 0;
      }
      blocks.push_back({first_chunk, std::uint32_t(chunks.size()) - first_chunk, block.kind == block_kind::weight ? 1u : 0u});
    }
    chunks_ = copied(chunks), blocks_ = copied(blocks);
    partial_ = buffer<double, cuda_space>(2 * chunks.size());
    rates_ = buffer<block_rate, cuda_space>(blocks.size());
    engine::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // our streams do not wait for the default one
  }

  std::size_t chunk_count() const { return chunks_.size(); }
  std::size_t block_count() const { return blocks_.size(); }
  bool cuts_blocks() const { return cut_; }
  // `aligned`: all arrays are, to the width of four of their elements.
  update_map map(bool aligned) const { return {chunks_.data(), blocks_.data(), rates_.data(), begin_, wide_ && aligned}; }
  double* partial() const { return partial_.data(); }  // [2 * chunks]
  block_rate* rates() const { return rates_.data(); }  // [blocks]

 private:
  template <class T>
  static buffer<T, cuda_space> copied(const std::vector<T>& from) {
    buffer<T, cuda_space> out(from.size());
    if (!from.empty()) engine::cuda_check(cudaMemcpy(out.data(), from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
    return out;
  }

  std::size_t begin_;
  bool cut_ = false, wide_ = true;
  buffer<update_chunk, cuda_space> chunks_;
  buffer<update_block, cuda_space> blocks_;
  buffer<double, cuda_space> partial_;
  buffer<block_rate, cuda_space> rates_;
};

}  // namespace entrain::device
