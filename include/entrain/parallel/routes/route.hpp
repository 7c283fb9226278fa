// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/plan.hpp>

// A route carries the blocks of one compressor. A message is a list of blocks that travel together, begun in the same order on
// every rank. One file in this folder for each payload kind; each is a class
//
//   route(setting)
//   add_message(blocks) -> number, begin_phase(), allocate()   before the first step; messages of different phases share memory
//   encode(block, context, values)                     a block's gradient is final; values may be changed
//   start(m, gradient)                                 all blocks of message m are encoded
//   stages                                             communications one after another: the first is begun by start(), each
//   advance(m, stage, gradient)                        other by advance(), which waits for the one before
//   test(m), wait(m)                                   push, or finish, what is under way
//   decode(m, gradient, scale)                         afterwards the blocks' gradients are scale times the decoded sum
//   plan_of(m, plan)                                   adds what the message sends
//   states()                                           one state a block of the layout (empty for blocks of other routes)
//
// Collectives of one communicator must begin in the same order on all ranks; how far a rank has got may differ. That is why later
// stages begin in advance(), which the exchange calls at fixed points, and never in test().

namespace entrain::parallel::routes {

inline bool trained(const parameter_block& block) { return block.kind != block_kind::statistic && block.count > 0; }

// What a route is made of; one argument, so that a tuple can make routes where they stay.
template <class Communicator, class Compressor>
struct setting {
  const parameter_layout& layout;
  Communicator& comm;
  const Compressor& compressor;
};

// What the packed routes share: which blocks a message has and where each begins on the wire.
template <class T, class Communicator, class Compressor>
class packed {
 public:
  using wire_type = compress::wire_of<Compressor, T>;
  using state_type = compress::state_of<Compressor, T>;
  using request = comm::pending<Communicator>;

  packed(const setting<Communicator, Compressor>& s) : layout_(s.layout), comm_(s.comm), compressor_(s.compressor) {}

  // takes(block): whether this route will ever carry it. Makes the states.
  template <class F>
  void make_states(F&& takes) {
    states_.reserve(layout_.blocks().size());
    for (std::size_t i = 0; i < layout_.blocks().size(); ++i) {
      auto described = description(i);
      if (!trained(layout_[i]) || !takes(i)) described.count = described.rows = described.columns = 0;
      states_.push_back(compressor_.template make_state<T>(described));
    }
    offset_.resize(layout_.blocks().size());
  }

  std::vector<state_type>& states() { return states_; }
  const Compressor& compressor() const { return compressor_; }

 protected:
  struct message {
    std::vector<std::size_t> blocks;
    std::size_t first = 0, count = 0;  // its stretch of the wire
    request pending{};
  };

  compress::block description(std::size_t i) const { return {layout_[i], i, std::size_t(comm_.size())}; }
  compress::context key(const compress::context& where, std::size_t block, int rank) const {
    compress::context out = where;
    const auto shape = description(block);
    out.block = std::uint32_t(block), out.rank = std::uint32_t(rank), out.ranks = std::uint32_t(comm_.size());
    out.rows = shape.rows, out.columns = shape.columns;
    return out;
  }
  std::span<T> values(std::size_t block, std::span<T> gradient) const { return gradient.subspan(layout_[block].offset, layout_[block].count); }
  std::size_t ranks() const { return std::size_t(comm_.size()); }

  const parameter_layout& layout_;
  Communicator& comm_;
  Compressor compressor_;
  std::vector<state_type> states_;
  std::vector<std::size_t> offset_;  // of each block on the wire
};

// The place of messages in a wire of `used` elements, of which the phases each use the beginning.
class wire_space {
 public:
  void begin_phase() { used_ = 0; }
  std::size_t take(std::size_t count) {
    const std::size_t first = used_;
    used_ += count;
    most_ = most_ > used_ ? most_ : used_;
    return first;
  }
  std::size_t most() const { return most_; }

 private:
  std::size_t used_ = 0, most_ = 0;
};

}  // namespace entrain::parallel::routes
