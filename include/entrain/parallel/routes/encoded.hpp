// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/routes/gathered.hpp>
#include <entrain/parallel/routes/in_place.hpp>
#include <entrain/parallel/routes/kernels.hpp>
#include <entrain/parallel/routes/sparse.hpp>
#include <entrain/parallel/routes/summed.hpp>

// A route whose encodings are made and read on a device: one of the host's routes, with its wires in pinned memory, carries between
// ranks what an engine's kernels have encoded; here is what goes before and after.
//
//   encode(queue, block, context, values, ...)   kernels, into the device's wire
//   fetch(queue, m)                              all blocks of message m are encoded: the wire comes to the host
//   begin(m)                                     it has come: the first communication
//   advance, test, wait                          as the host's route
//   add_up(queue, m, context, target)            what has arrived goes to the device, is decoded and summed in rank order
//
// Bytes over the bus: the encodings of this rank one way, of all ranks the other. Memory on the device: (1 + p) times the wires where
// they are gathered, one wire where they are summed.
//
// A communicator that reaches the device's memory (comm/nccl.hpp) takes encodings of fixed length from there: launch(m) in place of
// fetch, begin and wait. Nothing crosses the bus, and the host waits for nothing.

namespace entrain::parallel::routes {

// Where sums go: to the gradient of type T where it lies, by way of `work` where they are taken in another type.
template <class T, class Kept>
struct landing {
  T* gradient;
  Kept* work;

  template <class Engine>
  Kept* open(const Engine& queue, std::size_t from, std::size_t count, bool zeroed = true) const {
    Kept* at = work;
    if constexpr (std::is_same_v<T, Kept>) at = gradient + from;
    if (zeroed) queue.zero(at, count);
    return at;
  }
  template <class Engine>
  void close(const Engine& queue, std::size_t from, std::size_t count) const {
    if constexpr (!std::is_same_v<T, Kept>) kernels::convert(queue, static_cast<const Kept*>(work), gradient + from, count);
  }
};

template <class Kept, class Communicator, class Compressor, class Space>
auto host_route() {
  using compress::payload_kind;
  if constexpr (compress::is_positional<Compressor>) return std::type_identity<in_place<Kept, Communicator, Compressor, replicated, Space>>{};
  else if constexpr (Compressor::payload == payload_kind::summable) return std::type_identity<summed<Kept, Communicator, Compressor, Space>>{};
  else if constexpr (Compressor::payload == payload_kind::sparse) return std::type_identity<sparse<Kept, Communicator, Compressor, Space>>{};
  else return std::type_identity<gathered<Kept, Communicator, Compressor, Space>>{};
}

// Encodings of fixed length, for which the communicator has what it takes on the engine's memory.
template <class Kept, class Engine, class Communicator, class Compressor>
constexpr bool travels_on_device() {
  using wire = compress::wire_of<Compressor, Kept>;
  using space = typename Engine::space;
  if constexpr (compress::is_variable<Compressor> || !requires(Communicator& c, const Engine& e) { c.follow(e), c.hold(e); }) return false;
  else if constexpr (Compressor::payload == compress::payload_kind::summable) return comm::native<Communicator, comm::collective::all_reduce, wire, comm::sum, space>;
  else return comm::native<Communicator, comm::collective::all_gather, wire, comm::no_operation, space>;
}

template <class Kept, class Engine, class Communicator, class Compressor>
class encoded : public decltype(host_route<Kept, Communicator, Compressor, typename Engine::staging_space>())::type {
  using base = typename decltype(host_route<Kept, Communicator, Compressor, typename Engine::staging_space>())::type;
  using space = typename Engine::space;
  using staging = typename Engine::staging_space;
  static constexpr bool gathers = Compressor::payload == compress::payload_kind::gatherable || Compressor::payload == compress::payload_kind::sparse;

 public:
  using typename base::wire_type;
  static constexpr bool positional = compress::is_positional<Compressor>, is_sparse = Compressor::payload == compress::payload_kind::sparse;
  static constexpr bool direct = travels_on_device<Kept, Engine, Communicator, Compressor>();
  static_assert(gathers || !compress::is_variable<Compressor>);
  using base::base;

  // After the messages have been added.
  void allocate() {
    this->make_states([](std::size_t) { return false; });  // what the host's encoder would keep
    if constexpr (is_sparse) this->choose_ways();
    base::allocate();
    place_.resize(this->messages_.size()), entry_place_.resize(this->layout_.blocks().size());
    std::size_t entries = 0;
    for (std::size_t m = 0; m < place_.size(); ++m) {
      if constexpr (positional) place_[m] = {this->messages_[m].range.begin, this->messages_[m].range.end - this->messages_[m].range.begin};
      else place_[m] = {this->messages_[m].first, this->messages_[m].count};
      if constexpr (is_sparse) {
        first_entry_.push_back(entries);
        for (const std::size_t i : this->messages_[m].blocks) entry_place_[i] = entries++;
      }
    }
    on_device_ = buffer<wire_type, space>(this->wire_.size());
    if constexpr (gathers) all_on_device_ = buffer<wire_type, space>(this->gathered_.size()), next_.resize(this->ranks());
    if constexpr (is_sparse) found_ = buffer<std::uint32_t, space>(entries), found_here_ = buffer<std::uint32_t, staging>(entries);
  }

  void begin_steps() {
    if constexpr (!positional)
      for (std::size_t m = 0; m < this->messages_.size(); ++m) base::begin_step(m);
  }

  std::size_t capacity(std::size_t block) const { return this->compressor_.template wire_count<Kept>(this->description(block)); }

  template <class Scratch>
  void encode(const Engine& queue, std::size_t block, const compress::context& where, const Kept* values, const Scratch& scratch) {
    kernels::encode_values(queue, kernels::bare(this->compressor_), this->key(where, block, this->comm_.rank()), scratch, values, this->layout_[block].count, wire_of(block),
                           found_of(block));
  }
  // residual -= what has been encoded.
  void take_out(const Engine& queue, std::size_t block, const compress::context& where, Kept* residual) {
    const wire_type* wire = wire_of(block);
    if constexpr (is_sparse) kernels::take_out_entries(queue, wire, static_cast<const std::uint32_t*>(found_of(block)), capacity(block), residual);
    else add_decoded(queue, this->key(where, block, this->comm_.rank()), wire, capacity(block), residual, this->layout_[block].count, Kept(-1));
  }

  // Whether message m never comes to the host.
  bool is_direct([[maybe_unused]] std::size_t m) const {
    if constexpr (direct && is_sparse) return this->own_[m].way == compress::way::gather;
    else return direct;
  }
  void launch(std::size_t m) {
    if constexpr (direct) {
      const auto [first, count] = place_[m];
      const view<wire_type, space> mine(on_device_.data() + first, count);
      if constexpr (gathers)
        this->messages_[m].pending = comm::start_all_gather(this->comm_, view<const wire_type, space>(mine), view<wire_type, space>(all_on_device_.data() + first * this->ranks(), count * this->ranks()));
      else this->messages_[m].pending = comm::start_all_reduce(this->comm_, mine, comm::sum{});
    }
  }

  void fetch(const Engine& queue, std::size_t m) {
    const auto [first, count] = place_[m];
    queue.copy(static_cast<const wire_type*>(on_device_.data() + first), this->wire_.data() + first, count);
    if constexpr (is_sparse)
      queue.copy(static_cast<const std::uint32_t*>(found_.data() + first_entry_[m]), found_here_.data() + first_entry_[m], this->messages_[m].blocks.size());
  }

  void begin(std::size_t m) {
    if constexpr (gathers) {
      auto& at = this->messages_[m];
      for (std::size_t b = 0; b < at.blocks.size(); ++b) at.filled[b] = filled(at.blocks[b]);
    } else if constexpr (!positional) {
      for (const std::size_t i : this->messages_[m].blocks) this->filled_[i] = capacity(i);
    }
    this->start(m, {});
  }

  template <class T>
  void add_up(const Engine& queue, std::size_t m, const compress::context& where, const landing<T, Kept>& to) {
    if constexpr (positional) add_up_stretch(queue, m, where, to);
    else if constexpr (!gathers) add_up_summed(queue, m, where, to);
    else if constexpr (is_sparse) {
      if (this->own_[m].way == compress::way::gather) add_up_gathered(queue, m, where, to);
      else if (this->own_[m].way == compress::way::dense) send_dense(queue, m, this->own_[m].dense.data(), to);
      else if (this->own_[m].stream.dense()) send_dense(queue, m, std::as_const(this->own_[m].stream).values(), to);
      else add_up_merged(queue, m, where, to);
    } else {
      add_up_gathered(queue, m, where, to);
    }
  }

 private:
  struct stretch_of_wire {
    std::size_t first = 0, count = 0;
  };

  wire_type* wire_of(std::size_t block) const { return on_device_.data() + (positional ? this->layout_[block].offset : this->offset_[block]); }
  std::uint32_t* found_of(std::size_t block) const { return is_sparse ? found_.data() + entry_place_[block] : nullptr; }
  std::uint32_t filled(std::size_t block) const {
    if constexpr (compress::is_variable<Compressor>) return std::min(found_here_[entry_place_[block]], std::uint32_t(capacity(block)));
    else return std::uint32_t(capacity(block));
  }
  // Of block b's encoding on a rank.
  template <class Message>
  std::size_t length(const Message& at, std::size_t rank, std::size_t b) const {
    if constexpr (compress::is_variable<Compressor>) return at.lengths[rank * at.blocks.size() + b];
    else return capacity(at.blocks[b]);
  }
  void add_decoded(const Engine& queue, const compress::context& key, const wire_type* wire, std::size_t filled, Kept* values, std::size_t count, Kept scale) const {
    if (filled > 0) kernels::add_decoded(queue, kernels::bare(this->compressor_), key, wire, filled, values, count, scale);
  }
  void send(const Engine& queue, std::size_t m) {
    const auto [first, count] = place_[m];
    queue.copy(static_cast<const wire_type*>(this->wire_.data() + first), on_device_.data() + first, count);
  }

  template <class T>
  void add_up_stretch(const Engine& queue, std::size_t m, const compress::context& where, const landing<T, Kept>& to) {
    if (!is_direct(m)) send(queue, m);
    const auto& range = this->messages_[m].range;
    for (const std::size_t i : range.blocks) {
      const std::size_t from = std::max(range.begin, this->layout_[i].offset), end = std::min(range.end, this->layout_[i].offset + this->layout_[i].count);
      if (from >= end) continue;
      add_decoded(queue, this->key(where, i, 0), on_device_.data() + from, end - from, to.open(queue, from, end - from), end - from, Kept(1));
      to.close(queue, from, end - from);
    }
  }
  template <class T>
  void add_up_summed(const Engine& queue, std::size_t m, const compress::context& where, const landing<T, Kept>& to) {
    if (!is_direct(m)) send(queue, m);
    for (const std::size_t i : this->messages_[m].blocks) {
      const auto& b = this->layout_[i];
      add_decoded(queue, this->key(where, i, 0), wire_of(i), capacity(i), to.open(queue, b.offset, b.count), b.count, Kept(1));
      to.close(queue, b.offset, b.count);
    }
  }
  template <class T>
  void add_up_gathered(const Engine& queue, std::size_t m, const compress::context& where, const landing<T, Kept>& to) {
    const auto& at = this->messages_[m];
    const std::size_t first = at.first * this->ranks(), blocks = at.blocks.size();
    std::size_t all = 0;
    for (std::size_t r = 0; r < this->ranks(); ++r) {
      next_[r] = first + all;
      for (std::size_t b = 0; b < blocks; ++b) all += length(at, r, b);
    }
    if (!is_direct(m)) queue.copy(static_cast<const wire_type*>(this->gathered_.data() + first), all_on_device_.data() + first, all);
    for (std::size_t b = 0; b < blocks; ++b) {
      const auto& block = this->layout_[at.blocks[b]];
      Kept* const sum = to.open(queue, block.offset, block.count);
      for (std::size_t r = 0; r < this->ranks(); ++r) {
        const std::size_t filled = length(at, r, b);
        add_decoded(queue, this->key(where, at.blocks[b], int(r)), all_on_device_.data() + next_[r], filled, sum, block.count, Kept(1));
        next_[r] += filled;
      }
      to.close(queue, block.offset, block.count);
    }
  }

  // Merged on their way: pairs, whose indices count through the message.
  template <class T>
  void add_up_merged(const Engine& queue, std::size_t m, const compress::context& where, const landing<T, Kept>& to) {
    const auto& stream = this->own_[m].stream;
    const std::size_t first = this->messages_[m].first * this->ranks();
    wire_type* const entries = this->gathered_.data() + first;
    std::size_t before = 0, entry = 0;
    for (const std::size_t i : this->messages_[m].blocks) {
      const std::size_t n = this->layout_[i].count, begin = entry;
      for (; entry < stream.count() && stream.index(entry) < before + n; ++entry) entries[entry] = {std::uint32_t(stream.index(entry) - before), stream.value(entry)};
      queue.copy(static_cast<const wire_type*>(entries + begin), all_on_device_.data() + first + begin, entry - begin);
      add_decoded(queue, this->key(where, i, 0), all_on_device_.data() + first + begin, entry - begin, to.open(queue, this->layout_[i].offset, n), n, Kept(1));
      to.close(queue, this->layout_[i].offset, n);
      before += n;
    }
  }
  template <class T>
  void send_dense(const Engine& queue, std::size_t m, const Kept* sums, const landing<T, Kept>& to) {
    for (const std::size_t i : this->messages_[m].blocks) {
      const auto& b = this->layout_[i];
      queue.copy(sums, to.open(queue, b.offset, b.count, false), b.count);
      to.close(queue, b.offset, b.count);
      sums += b.count;
    }
  }

  std::vector<stretch_of_wire> place_;  // of each message
  std::vector<std::size_t> first_entry_, entry_place_, next_;
  buffer<wire_type, space> on_device_, all_on_device_;
  buffer<std::uint32_t, space> found_;
  buffer<std::uint32_t, staging> found_here_;
};

}  // namespace entrain::parallel::routes
