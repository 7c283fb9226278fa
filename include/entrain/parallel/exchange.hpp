// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/shard_sums.hpp>

// The exchange: the place where a compressor's payload meets a communicator's abilities. It turns the partial gradients
// of p ranks into replicated or sharded ones, bucket by bucket, as their blocks become ready. The payload kind decides the
// collective at compile time:
//
//   identity     summed where it lies in the gradient arena: all-reduce, or reduce-scatter when sharded
//   positional   encoded into a wire arena of the same shape, summed there, decoded
//   summable     encoded block by block, all-reduced, decoded
//   gatherable   encoded block by block, all-gathered, every rank's part decoded and added in rank order
//
// Residuals and other compressor state belong to the block, so any bucket size gives the same result.

namespace entrain::parallel {

template <class T, class Communicator, class Compressor, class Placement>
class exchange {
  static constexpr bool identity = compress::is_identity<Compressor>;
  static constexpr bool positional = compress::is_positional<Compressor>;
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  static constexpr bool gathered = Compressor::payload != compress::payload_kind::summable;
  using wire_type = typename Compressor::template wire_type<T>;
  using request = comm::pending<Communicator>;

 public:
  // `spare`: elements that the gradient arena must have beyond the layout.
  exchange(const parameter_layout& layout, Communicator& comm, Compressor compressor, std::size_t bucket_bytes, std::size_t shards = 0)
      : layout_(layout), comm_(comm), compressor_(std::move(compressor)), queue_(layout, cut(layout, comm, bucket_bytes)), requests_(queue_.buckets().size()), sums_(comm, shards) {
    if (shards > 0 && !(identity && !is_sharded))
      throw usage_error("parallel::data", "shards with a compressor, which encodes what a rank has", "compress::none");
    for (const auto& b : queue_.buckets()) sums_.add_stretch(b.end - b.begin);
    sums_.add_stretch(layout.trainable_begin());
    if constexpr (!identity) {
      states_.reserve(layout.blocks().size());
      wire_offset_.resize(layout.blocks().size());
      for (const auto& block : layout.blocks()) states_.push_back(compressor_.template make_state<T>(trained(block) ? block.count : 0));
      for (const auto& b : queue_.buckets()) place_on_wire(b);
      wire_ = buffer<wire_type>(wire_total_);
      if constexpr (gathered) gathered_ = buffer<wire_type>(wire_total_ * std::size_t(comm.size()));
    }
  }

  static std::size_t granularity(const Communicator& comm) { return parameter_layout::alignment * std::size_t(is_sharded ? comm.size() : 1); }
  std::size_t arena_size() const {
    std::size_t end = layout_.size();
    for (const auto& b : queue_.buckets()) end = std::max(end, b.end);
    return end;
  }
  const std::vector<bucket>& buckets() const { return queue_.buckets(); }

  void begin_step(const compress::context& where) {
    where_ = where;
    where_.rank = std::uint32_t(comm_.rank());
    queue_.reset();
  }

  // Block's gradient is final: encode it, start what can start, and give what is under way a push.
  void ready(std::size_t block, std::span<T> gradient) {
    if (!trained(layout_[block])) return;
    if constexpr (!identity) encode(block, gradient);
    queue_.ready(block, [&](std::size_t b) { start(b, gradient); });
    progress();
  }

  // Parts of this rank's batch whose gradients are summed one by one in a fixed order; 0: the order is the communicator's.
  std::size_t shards_here() const { return sums_.on() ? sums_.here() : 0; }
  // The gradient of a shard that is not this rank's last.
  void add_shard(std::span<const T> gradient) {
    for (std::size_t b = 0; b < buckets().size(); ++b) sums_.add(b, stretch(b, gradient));
    if (layout_.trainable_begin() > 0) sums_.add(buckets().size(), view<const T>(gradient.data(), layout_.trainable_begin()));
  }
  // What the layers have observed, in front of the gradients: started by the caller after the last shard.
  void start_statistics(std::span<T> gradient) { sums_.add_last_and_start(buckets().size(), view<T>(gradient.data(), layout_.trainable_begin())); }
  void wait_statistics() { sums_.wait(buckets().size()); }

  void progress() {
    sums_.progress();
    for (auto& r : requests_) r.test();
  }

  // Ends bucket b's exchange; the gradient arena then holds the sum over ranks, in the part that is returned.
  placed<T, Placement> wait(std::size_t b, std::span<T> gradient) {
    if (sums_.on()) sums_.wait(b);
    requests_[b].wait();
    const auto [begin, end] = own_range(b);
    if constexpr (!identity) decode(b, begin, end, gradient);
    return {view<T>(gradient.data() + begin, end - begin), begin};
  }

  // The part of bucket b that this rank holds afterwards: all of it, or its shard.
  std::pair<std::size_t, std::size_t> own_range(std::size_t b) const {
    const auto& range = queue_.buckets()[b];
    if constexpr (is_sharded) {
      const std::size_t piece = (range.end - range.begin) / std::size_t(comm_.size());
      const std::size_t begin = range.begin + piece * std::size_t(comm_.rank());
      return {begin, begin + piece};
    } else {
      return {range.begin, range.end};
    }
  }

  void add_to(plan& p) const {
    for (const auto& b : queue_.buckets()) {
      if (identity && !is_sharded && comm_.size() == 1 && !sums_.on()) continue;
      const std::string_view operation = sums_.on() ? "reproducible_all_reduce" : gathered ? "all_gather" : is_sharded ? "reduce_scatter" : "all_reduce";
      p.push_back({operation, "gradient", sizeof(wire_type), wire_count(b)});
    }
  }

  // f(block index, state) for every trained block.
  template <class F>
  void for_each_state(F&& f) {
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (trained(layout_[i])) f(i, states_[i]);
  }

 private:
  static bool trained(const parameter_block& block) { return block.kind != block_kind::statistic && block.count > 0; }

  static std::vector<bucket> cut(const parameter_layout& layout, const Communicator& comm, std::size_t bucket_bytes) {
    const std::size_t each = std::max<std::size_t>(1, bucket_bytes / sizeof(T));
    if constexpr (identity || positional) return cut_by_range(layout, each, granularity(comm));
    else return cut_by_block(layout, each);
  }

  // A positional wire mirrors the arena; any other is packed, bucket after bucket.
  void place_on_wire(const bucket& b) {
    if constexpr (positional) {
      for (const std::size_t i : b.blocks) wire_offset_[i] = layout_[i].offset;
      wire_total_ = std::max(wire_total_, b.end);
    } else {
      for (const std::size_t i : b.blocks) {
        wire_offset_[i] = wire_total_;
        wire_total_ += compressor_.template wire_count<T>(layout_[i].count);
      }
    }
  }

  std::size_t wire_begin(const bucket& b) const { return identity || positional ? b.begin : wire_offset_[b.blocks.front()]; }
  std::size_t wire_count(const bucket& b) const {
    if constexpr (identity || positional) return b.end - b.begin;
    std::size_t n = 0;
    for (const std::size_t i : b.blocks) n += compressor_.template wire_count<T>(layout_[i].count);
    return n;
  }

  void encode(std::size_t block, std::span<T> gradient) {
    const auto& at = layout_[block];
    const std::size_t n = compressor_.template wire_count<T>(at.count);
    compressor_.encode(states_[block], key(block, where_.rank), gradient.subspan(at.offset, at.count),
                       std::span<wire_type>(wire_.data() + wire_offset_[block], n));
  }

  void start(std::size_t b, std::span<T> gradient) {
    const auto& range = queue_.buckets()[b];
    if constexpr (gathered) {
      const std::size_t first = wire_begin(range), n = wire_count(range);
      requests_[b] = comm::start_all_gather(comm_, view<const wire_type>(wire_.data() + first, n),
                                            view<wire_type>(gathered_.data() + first * std::size_t(comm_.size()), n * std::size_t(comm_.size())));
    } else if constexpr (identity) {
      if (sums_.on()) return sums_.add_last_and_start(b, view<T>(gradient.data() + range.begin, range.end - range.begin));
      start_sum(b, view<T>(gradient.data() + range.begin, range.end - range.begin));
    } else {
      start_sum(b, view<wire_type>(wire_.data() + wire_begin(range), wire_count(range)));
    }
  }

  view<const T> stretch(std::size_t b, std::span<const T> gradient) const {
    const auto& range = queue_.buckets()[b];
    return {gradient.data() + range.begin, range.end - range.begin};
  }

  template <class W>
  void start_sum(std::size_t b, view<W> values) {
    if constexpr (is_sharded) {
      const std::size_t piece = values.size() / std::size_t(comm_.size());
      requests_[b] = comm::start_reduce_scatter(comm_, view<const W>(values), values.subview(piece * std::size_t(comm_.rank()), piece), comm::sum{});
    } else {
      if (identity && comm_.size() == 1) return;
      requests_[b] = comm::start_all_reduce(comm_, view<const W>(values), values, comm::sum{});
    }
  }

  void decode(std::size_t b, std::size_t begin, std::size_t end, std::span<T> gradient) {
    std::fill(gradient.begin() + std::ptrdiff_t(begin), gradient.begin() + std::ptrdiff_t(end), T(0));
    const auto& range = queue_.buckets()[b];
    if constexpr (positional) {
      for (const std::size_t i : range.blocks) {
        const std::size_t from = std::max(begin, layout_[i].offset), to = std::min(end, layout_[i].offset + layout_[i].count);
        if (from < to)
          compressor_.decode_add(key(i, 0), std::span<const wire_type>(wire_.data() + from, to - from), gradient.subspan(from, to - from), T(1));
      }
    } else {
      const std::size_t first = wire_begin(range), n = wire_count(range);
      const int parts = gathered ? comm_.size() : 1;
      for (int r = 0; r < parts; ++r) {
        const wire_type* part = gathered ? gathered_.data() + first * std::size_t(parts) + n * std::size_t(r) : wire_.data() + first;
        for (const std::size_t i : range.blocks)
          compressor_.decode_add(key(i, std::uint32_t(r)), std::span<const wire_type>(part + (wire_offset_[i] - first), compressor_.template wire_count<T>(layout_[i].count)),
                                 gradient.subspan(layout_[i].offset, layout_[i].count), T(1));
      }
    }
  }

  compress::context key(std::size_t block, std::uint32_t rank) const { return {where_.seed, where_.step, std::uint32_t(block), rank}; }

  const parameter_layout& layout_;
  Communicator& comm_;
  Compressor compressor_;
  bucket_queue queue_;
  std::vector<request> requests_;
  shard_sums<T, Communicator> sums_;
  compress::context where_;
  std::vector<compress::state_of<Compressor, T>> states_;
  std::vector<std::size_t> wire_offset_;
  std::size_t wire_total_ = 0;
  buffer<wire_type> wire_, gathered_;
};

}  // namespace entrain::parallel
