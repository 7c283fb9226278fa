// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <entrain/core/layout.hpp>

// Buckets: stretches of the gradient arena that are exchanged together. The backward pass makes blocks ready from the end
// of the model to its beginning, so buckets are numbered from the end of the arena. A bucket starts when every block that
// it touches is ready and every earlier bucket has started: the order is the same on all ranks, whatever order their
// blocks become ready in.

namespace entrain::parallel {

struct bucket {
  std::size_t begin = 0, end = 0;   // elements of the arena
  std::vector<std::size_t> blocks;  // blocks it touches
};

// Equal stretches, cut anywhere, each a multiple of `granularity` long; the last one may reach up to granularity - 1
// elements past the layout, which the arena must have room for.
inline std::vector<bucket> cut_by_range(const parameter_layout& layout, std::size_t elements_each, std::size_t granularity) {
  const auto up = [granularity](std::size_t n) { return (n + granularity - 1) / granularity * granularity; };
  const std::size_t begin = layout.trainable_begin(), end = begin + up(layout.trainable_size());
  const std::size_t length = std::max(granularity, up(elements_each));
  std::vector<bucket> out;
  for (std::size_t at = begin; at < end; at += length) out.push_back({at, std::min(end, at + length), {}});
  std::reverse(out.begin(), out.end());
  for (auto& b : out)
    for (std::size_t i = 0; i < layout.blocks().size(); ++i) {
      const auto& block = layout[i];
      if (block.kind != block_kind::statistic && block.count > 0 && block.offset < b.end && block.offset + block.count > b.begin) b.blocks.push_back(i);
    }
  return out;
}

// Whole blocks out of those that are taken, together until `elements_each` is reached. [begin, end) spans them, and others that
// lie between them.
template <class Takes>
std::vector<bucket> cut_by_block(const parameter_layout& layout, std::size_t elements_each, Takes&& takes) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < layout.blocks().size(); ++i)
    if (layout[i].kind != block_kind::statistic && layout[i].count > 0 && takes(i)) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return layout[a].offset > layout[b].offset; });
  std::vector<bucket> out;
  std::size_t together = 0;
  for (const std::size_t i : order) {
    if (out.empty() || together >= elements_each) out.push_back({0, layout[i].offset + layout[i].count, {}}), together = 0;
    out.back().begin = layout[i].offset;
    out.back().blocks.push_back(i);
    together += layout[i].count;
  }
  return out;
}

// Whole blocks, or ranges whose ends may lie within one.
inline std::vector<bucket> cut_buckets(const parameter_layout& layout, std::size_t elements_each, bool whole_blocks, std::size_t granularity) {
  return whole_blocks ? cut_by_block(layout, elements_each, [](std::size_t) { return true; }) : cut_by_range(layout, elements_each, granularity);
}

// For gradients that are summed where they lie: none on one rank; no bucket ends within a block where an optimizer needs all of it.
template <class T>
std::vector<bucket> cut_for_sums(const parameter_layout& layout, int ranks, std::size_t bucket_bytes, bool whole_blocks) {
  if (ranks == 1) return {};
  return cut_buckets(layout, std::max<std::size_t>(1, bucket_bytes / sizeof(T)), whole_blocks, parameter_layout::alignment);
}
// For sums of which every rank takes one part of each bucket; on one rank all of one.
template <class T>
std::vector<bucket> cut_for_shards(const parameter_layout& layout, int ranks, std::size_t bucket_bytes) {
  return cut_by_range(layout, ranks == 1 ? layout.size() : std::max<std::size_t>(1, bucket_bytes / sizeof(T)), parameter_layout::alignment * std::size_t(ranks));
}
// A bucket's elements; its end may reach past the last parameter.
inline std::pair<std::size_t, std::size_t> range_within(const parameter_layout& layout, const bucket& b) {
  return {b.begin, std::min(b.end, layout.size())};
}

// Counts down the blocks of each bucket and starts buckets in order.
class bucket_queue {
 public:
  bucket_queue() = default;
  bucket_queue(const parameter_layout& layout, std::vector<bucket> buckets) : buckets_(std::move(buckets)), buckets_of_(layout.blocks().size()) {
    for (std::size_t b = 0; b < buckets_.size(); ++b)
      for (const std::size_t block : buckets_[b].blocks) buckets_of_[block].push_back(b);
    pending_.resize(buckets_.size());
    reset();
  }

  const std::vector<bucket>& buckets() const { return buckets_; }

  void reset() {
    next_ = 0;
    for (std::size_t b = 0; b < buckets_.size(); ++b) pending_[b] = buckets_[b].blocks.size();
  }

  bool started(std::size_t b) const { return b < next_; }

  // start(b) is called for each bucket that can go now.
  template <class Start>
  void ready(std::size_t block, Start&& start) {
    for (const std::size_t b : buckets_of_[block]) --pending_[b];
    while (next_ < buckets_.size() && pending_[next_] == 0) start(next_++);
  }

 private:
  std::vector<bucket> buckets_;
  std::vector<std::vector<std::size_t>> buckets_of_;
  std::vector<std::size_t> pending_;
  std::size_t next_ = 0;
};

}  // namespace entrain::parallel
