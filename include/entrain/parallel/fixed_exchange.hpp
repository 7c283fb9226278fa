// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/routes/route.hpp>
#include <entrain/parallel/shard_sums.hpp>

// The exchange of parallel::reproducible: sums whose order is fixed by the number of shards, whatever the number of ranks. The same
// interface as parallel/exchange.hpp, for gradients that are not compressed.

namespace entrain::parallel {

template <class T, class Communicator>
class fixed_exchange {
 public:
  static constexpr bool fixed_shards = true;

  fixed_exchange(const parameter_layout& layout, Communicator& comm, std::size_t bucket_bytes, std::size_t shards)
      : layout_(layout), queue_(layout, cut_by_range(layout, std::max<std::size_t>(1, bucket_bytes / sizeof(T)), parameter_layout::alignment)), sums_(comm, shards) {
    for (const auto& b : buckets()) sums_.add_stretch(b.end - b.begin);
    sums_.add_stretch(layout.trainable_begin());
  }

  std::size_t arena_size() const {
    std::size_t end = layout_.size();
    for (const auto& b : buckets()) end = std::max(end, b.end);
    return end;
  }
  const std::vector<bucket>& buckets() const { return queue_.buckets(); }
  void begin_step(const compress::context&) { queue_.reset(); }
  std::span<const std::uint8_t> idle() const { return {}; }

  // This rank's shards: parts of its batch whose gradients are summed one by one.
  std::size_t shards_here() const { return sums_.here(); }
  // The gradient of a shard that is not this rank's last.
  void add_shard(std::span<const T> gradient) {
    for (std::size_t b = 0; b < buckets().size(); ++b) sums_.add(b, stretch<const T>(b, gradient));
    if (layout_.trainable_begin() > 0) sums_.add(buckets().size(), view<const T>(gradient.data(), layout_.trainable_begin()));
  }
  void ready(std::size_t block, std::span<T> gradient) {
    if (!routes::trained(layout_[block])) return;
    queue_.ready(block, [&](std::size_t b) { sums_.add_last_and_start(b, stretch<T>(b, gradient)); });
    progress();
  }
  void progress() { sums_.progress(); }
  void finish_stages(std::span<T>, double) {}

  // What the layers have observed, in front of the gradients: started by the caller after the last shard.
  void start_statistics(std::span<T> gradient) { sums_.add_last_and_start(buckets().size(), view<T>(gradient.data(), layout_.trainable_begin())); }
  void wait_statistics() { sums_.wait(buckets().size()); }

  placed<T, replicated> wait(std::size_t b, std::span<T> gradient) {
    sums_.wait(b);
    return {stretch<T>(b, gradient), buckets()[b].begin};
  }
  std::pair<std::size_t, std::size_t> own_range(std::size_t b) const { return {buckets()[b].begin, buckets()[b].end}; }

  void add_to(plan& p, std::uint64_t) const {
    for (const auto& b : buckets()) p.push_back({"reproducible_all_reduce", "gradient", sizeof(T), b.end - b.begin});
  }
  std::string explain(std::uint64_t) const { return entrain::detail::text(buckets().size(), " buckets, each summed by one fixed tree\n"); }
  void for_each_state(auto&&) {}

 private:
  template <class U>
  view<U> stretch(std::size_t b, std::span<U> gradient) const {
    return {gradient.data() + buckets()[b].begin, buckets()[b].end - buckets()[b].begin};
  }

  const parameter_layout& layout_;
  bucket_queue queue_;
  shard_sums<T, Communicator> sums_;
};

}  // namespace entrain::parallel
