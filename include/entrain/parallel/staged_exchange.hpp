// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/compression_state.hpp>
#include <entrain/parallel/exchange.hpp>
#include <entrain/parallel/plan.hpp>

// The exchange of gradients that lie in an engine's memory: a block is copied to pinned host memory, on a stream beside the
// arithmetic, as soon as it is final; the exchange of the host (parallel/exchange.hpp) carries it with any compressor over any
// communicator, and its sum is copied back. One rank that encodes nothing copies nothing.
//
// Cost beyond the exchange: every trained parameter's gradient once each way over the bus. Memory: the gradient arena in pinned host
// memory, in the kept type, and in the computed type where that differs.

namespace entrain::parallel {

template <class T, class Kept, class Engine, class Communicator, class Compression>
class staged_exchange {
  using space = typename Engine::space;
  using event = typename Engine::event;
  static constexpr bool converts = !std::is_same_v<T, Kept>;
  static constexpr bool encodes = [] {
    if constexpr (compress::chooser<Compression>) return true;
    else return !compress::is_identity<Compression>;
  }();

 public:
  staged_exchange(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Compression& compression, std::size_t bucket_bytes, bool whole_blocks)
      : layout_(layout), engine_(engine), beside_(engine.beside()), comm_(comm) {
    if (comm.size() == 1 && !encodes) return;
    inner_.emplace(layout, comm, compression, bucket_bytes, whole_blocks);
    host_ = buffer<Kept, staging>(inner_->arena_size());
    if constexpr (converts) moved_ = buffer<T, staging>(inner_->arena_size());
    arrived_.resize(layout.blocks().size());
    order_.reserve(layout.blocks().size());
  }

  void begin_step(const compress::context& where) {
    order_.clear();
    if (inner_) inner_->begin_step(where);
  }

  // Of each block, 1: it rests in this step (parallel/exchange.hpp). Empty: all take part.
  std::span<const std::uint8_t> idle() const { return inner_ ? inner_->idle() : std::span<const std::uint8_t>(); }

  // The block's gradient will be final when the engine has done what it has been given so far.
  void ready(std::size_t block, view<T, space> gradient) {
    if (!inner_ || !routes::trained(layout_[block])) return;
    const auto& b = layout_[block];
    order_.push_back(block);
    if (rests(block)) return;  // nobody reads it
    engine_.mark(arrived_[block]);
    beside_.await(arrived_[block]);
    beside_.copy(static_cast<const T*>(gradient.data() + b.offset), landing() + b.offset, b.count);
    beside_.mark(arrived_[block]);
  }

  // After the last block; afterwards the engine's next work finds the sums in `gradient`.
  void finish(view<T, space> gradient, double count) {
    if (!inner_) return;
    for (const std::size_t block : order_) {
      if (!rests(block)) {
        arrived_[block].wait();
        if constexpr (converts) convert(moved_.data(), host_.data(), layout_[block]);
      }
      inner_->ready(block, host_.span());
    }
    inner_->finish_stages(host_.span(), count);
    for (std::size_t b = 0; b < inner_->buckets().size(); ++b) {
      inner_->wait(b, host_.span());
      send_back(b, gradient);
    }
    beside_.mark(returned_);
    engine_.await(returned_);
  }

  void settle() {}  // finish() has waited for everything

  void add_to(plan& p, std::uint64_t step) const {
    if (inner_) inner_->add_to(p, step);
  }
  std::string explain(std::uint64_t step) const { return inner_ ? "through pinned host memory:\n" + inner_->explain(step) : "one rank, nothing is encoded: nothing travels\n"; }

  template <class Sink>
  void save(Sink& sink) {
    if (inner_) save_compression<Compression>(*inner_, layout_, comm_, sink);
  }
  template <class Source>
  void load(Source& source) {
    if (inner_) load_compression<Compression>(*inner_, layout_, comm_, source);
  }

 private:
  using staging = typename Engine::staging_space;

  bool rests(std::size_t block) const { return !idle().empty() && idle()[block]; }
  T* landing() {
    if constexpr (converts) return moved_.data();
    else return host_.data();
  }
  template <class A, class B>
  static void convert(const A* from, B* to, const parameter_block& b) {
    for (std::size_t i = b.offset; i < b.offset + b.count; ++i) to[i] = B(from[i]);
  }
  // The bucket's stretch of the arena, as far as there are parameters in it.
  void send_back(std::size_t b, view<T, space> gradient) {
    const std::size_t begin = inner_->buckets()[b].begin, end = std::min(inner_->buckets()[b].end, layout_.size());
    if constexpr (converts)
      for (std::size_t i = begin; i < end; ++i) moved_[i] = T(host_[i]);
    beside_.copy(static_cast<const T*>(landing() + begin), gradient.data() + begin, end - begin);
  }

  const parameter_layout& layout_;
  Engine engine_, beside_;
  Communicator& comm_;
  std::optional<exchange<Kept, Communicator, Compression, replicated>> inner_;
  buffer<Kept, staging> host_;
  buffer<T, staging> moved_;
  std::vector<event> arrived_;
  event returned_;
  std::vector<std::size_t> order_;
};

}  // namespace entrain::parallel
