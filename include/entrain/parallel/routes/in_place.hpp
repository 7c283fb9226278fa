// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <entrain/core/placement.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/routes/route.hpp>

// Compressors whose wire element i stands for value i: a stretch of the arena is a stretch of the wire, so it may be cut
// anywhere, and summed all-to-all or scattered. The identity has no wire at all: gradients are summed where they lie.
//
// Bytes: one wire element a value. Memory: none, or a wire as long as the arena.

namespace entrain::parallel::routes {

// The part of a bucket that this rank holds afterwards: all of it, or its shard.
template <class Placement, class Communicator>
std::pair<std::size_t, std::size_t> own_range(const bucket& range, const Communicator& comm) {
  if constexpr (std::same_as<Placement, sharded>) {
    const std::size_t piece = (range.end - range.begin) / std::size_t(comm.size()), begin = range.begin + piece * std::size_t(comm.rank());
    return {begin, begin + piece};
  } else {
    return {range.begin, range.end};
  }
}

template <class T, class Communicator, class Compressor, class Placement, class Space = host_space>
class in_place : public packed<T, Communicator, Compressor> {
  using base = packed<T, Communicator, Compressor>;
  static constexpr bool identity = compress::is_identity<Compressor>, is_sharded = std::same_as<Placement, sharded>;

 public:
  using typename base::request;
  using typename base::wire_type;
  static constexpr int stages = 1;
  using base::base;

  std::size_t add_message(const bucket& b) {
    messages_.push_back({b, {}});
    end_ = end_ > b.end ? end_ : b.end;
    return messages_.size() - 1;
  }
  void begin_phase() {}
  void allocate() {
    if constexpr (!identity) wire_ = buffer<wire_type, Space>(end_);
  }

  void encode(std::size_t block, const compress::context& where, std::span<T> gradient) {
    if constexpr (!identity) {
      const auto& at = this->layout_[block];
      this->compressor_.encode(this->states_[block], this->key(where, block, this->comm_.rank()), this->values(block, gradient), std::span<wire_type>(wire_.data() + at.offset, at.count));
    }
  }
  void start(std::size_t m, std::span<T> gradient) {
    const auto& [range, pending] = messages_[m];
    if constexpr (identity) sum(m, view<T>(gradient.data() + range.begin, range.end - range.begin));
    else sum(m, view<wire_type>(wire_.data() + range.begin, range.end - range.begin));
  }
  void advance(std::size_t, int, std::span<T>) {}
  void test(std::size_t m) { messages_[m].pending.test(); }
  void wait(std::size_t m) { messages_[m].pending.wait(); }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    if constexpr (!identity) {
      const auto [begin, end] = own_range<Placement>(messages_[m].range, this->comm_);
      for (const std::size_t i : messages_[m].range.blocks) {
        const std::size_t from = std::max(begin, this->layout_[i].offset), to = std::min(end, this->layout_[i].offset + this->layout_[i].count);
        if (from >= to) continue;
        const auto out = gradient.subspan(from, to - from);
        std::fill(out.begin(), out.end(), T(0));
        this->compressor_.decode_add(this->key(where, i, 0), std::span<const wire_type>(wire_.data() + from, to - from), out, scale);
      }
    }
  }

  void plan_of(std::size_t m, plan& p) const {
    const auto& range = messages_[m].range;
    if (identity && !is_sharded && this->comm_.size() == 1) return;
    p.push_back({is_sharded ? "reduce_scatter" : "all_reduce", "gradient", sizeof(wire_type), range.end - range.begin});
  }

 protected:
  template <class W>
  void sum(std::size_t m, view<W> values) {
    auto& pending = messages_[m].pending;
    if constexpr (is_sharded) {
      const std::size_t piece = values.size() / this->ranks();
      pending = comm::start_reduce_scatter(this->comm_, view<const W>(values), values.subview(piece * std::size_t(this->comm_.rank()), piece), comm::sum{});
    } else {
      if (identity && this->comm_.size() == 1) return;
      pending = comm::start_all_reduce(this->comm_, view<const W>(values), values, comm::sum{});
    }
  }

  struct stretch {
    bucket range;
    request pending{};
  };
  std::vector<stretch> messages_;
  std::size_t end_ = 0;
  buffer<wire_type, Space> wire_;
};

}  // namespace entrain::parallel::routes
