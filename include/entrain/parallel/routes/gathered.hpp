// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/parallel/routes/route.hpp>

// Payloads that cannot be summed on their way: one all-gather a message, and every rank's part is decoded and added, in rank
// order. Of a `variable` compressor the lengths are gathered first (4 bytes a block), then what is there.
//
// Bytes: what the blocks fill, and 4 a block where lengths vary. Memory: (1 + p) times the wire_count of its blocks, in `Space`, which the
// host can read (pinned memory where a device fills and fetches it: encoded.hpp).

namespace entrain::parallel::routes {

template <class T, class Communicator, class Compressor, class Space = host_space>
class gathered : public packed<T, Communicator, Compressor> {
  using base = packed<T, Communicator, Compressor>;
  static constexpr bool variable = compress::is_variable<Compressor>;

 public:
  using typename base::wire_type;
  static constexpr int stages = variable ? 2 : 1;
  using base::base;

  std::size_t add_message(const std::vector<std::size_t>& blocks) {
    message m{{blocks, 0, 0, {}}, {}, {}, {}};
    for (const std::size_t i : blocks) m.count += capacity(i);
    m.first = space_.take(m.count);
    m.filled.resize(blocks.size()), m.lengths.resize(blocks.size() * this->ranks()), m.totals.resize(this->ranks());
    messages_.push_back(std::move(m));
    return messages_.size() - 1;
  }
  void begin_phase() { space_.begin_phase(); }
  void allocate() {
    wire_ = buffer<wire_type, Space>(space_.most()), gathered_ = buffer<wire_type, Space>(space_.most() * this->ranks());
    place_.resize(this->layout_.blocks().size());
  }
  void begin_step(std::size_t m) {
    std::size_t at = messages_[m].first;
    for (std::size_t b = 0; b < messages_[m].blocks.size(); ++b) {
      const std::size_t i = messages_[m].blocks[b];
      this->offset_[i] = at, at += capacity(i);
      place_[i] = {m, b};
    }
  }

  void encode(std::size_t block, const compress::context& where, std::span<T> gradient) {
    const auto [m, b] = place_[block];
    messages_[m].filled[b] = std::uint32_t(compress::encoded(this->compressor_, this->states_[block], this->key(where, block, this->comm_.rank()), this->values(block, gradient),
                                                             std::span<wire_type>(wire_.data() + this->offset_[block], capacity(block))));
  }
  void start(std::size_t m, std::span<T>) {
    auto& at = messages_[m];
    if constexpr (variable) {
      at.pending = comm::start_all_gather(this->comm_, view<const std::uint32_t>(at.filled.data(), at.filled.size()), view<std::uint32_t>(at.lengths.data(), at.lengths.size()));
    } else {
      for (std::size_t r = 0; r < this->ranks(); ++r) std::copy(at.filled.begin(), at.filled.end(), at.lengths.begin() + std::ptrdiff_t(r * at.filled.size()));
      at.pending = comm::start_all_gather(this->comm_, view<const wire_type>(wire_.data() + at.first, at.count), all_of(at));
    }
  }
  void advance(std::size_t m, int stage, std::span<T>) {
    if constexpr (variable) {
      if (stage != 1) return;
      auto& at = messages_[m];
      at.pending.wait();
      std::size_t end = at.first;
      for (std::size_t b = 0; b < at.blocks.size(); ++b) {
        const std::size_t from = this->offset_[at.blocks[b]];
        if (from != end) std::copy_n(wire_.data() + from, at.filled[b], wire_.data() + end);
        end += at.filled[b];
      }
      count_totals(at);
      at.pending = comm::start_all_gather_v(this->comm_, view<const wire_type>(wire_.data() + at.first, end - at.first), all_of(at), std::span<const std::size_t>(at.totals));
    }
  }
  void test(std::size_t m) { messages_[m].pending.test(); }
  void wait(std::size_t m) { messages_[m].pending.wait(); }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    const auto& at = messages_[m];
    for (const std::size_t i : at.blocks) {
      const auto out = this->values(i, gradient);
      std::fill(out.begin(), out.end(), T(0));
    }
    const wire_type* next = gathered_.data() + at.first * this->ranks();
    for (std::size_t r = 0; r < this->ranks(); ++r)
      for (std::size_t b = 0; b < at.blocks.size(); ++b) {
        const std::size_t n = at.lengths[r * at.blocks.size() + b], i = at.blocks[b];
        this->compressor_.decode_add(this->key(where, i, int(r)), std::span<const wire_type>(next, n), this->values(i, gradient), scale);
        next += n;
      }
  }
  void plan_of(std::size_t m, plan& p) const {
    if constexpr (variable) p.push_back({"all_gather", "lengths", sizeof(std::uint32_t), messages_[m].blocks.size()});
    p.push_back({variable ? "all_gather_v" : "all_gather", "gradient", sizeof(wire_type), messages_[m].count, -1, variable});
  }

 protected:
  struct message : base::message {
    std::vector<std::uint32_t> filled, lengths;  // of its blocks here, and on every rank
    std::vector<std::size_t> totals;             // of every rank
  };
  struct position {
    std::size_t message = 0, block = 0;
  };

  std::size_t capacity(std::size_t block) const { return this->compressor_.template wire_count<T>(this->description(block)); }

  view<wire_type> all_of(const message& at) const {
    std::size_t n = at.count * this->ranks();
    if constexpr (variable) {
      n = 0;
      for (const std::size_t t : at.totals) n += t;
    }
    return {gathered_.data() + at.first * this->ranks(), n};
  }
  // What other ranks say is checked before it is used: a length beyond the capacity would write past the buffer.
  void count_totals(message& at) const {
    for (std::size_t r = 0; r < this->ranks(); ++r) {
      at.totals[r] = 0;
      for (std::size_t b = 0; b < at.blocks.size(); ++b) {
        const std::size_t n = at.lengths[r * at.blocks.size() + b], most = capacity(at.blocks[b]);
        if (n > most)
          throw communication_error("gradient exchange", "rank " + std::to_string(r) + " sends too much for block '" + this->layout_[at.blocks[b]].name + "'",
                                    entrain::detail::text("at most ", most, " wire elements"), entrain::detail::text(n));
        at.totals[r] += n;
      }
    }
  }

  std::vector<message> messages_;
  std::vector<position> place_;
  wire_space space_;
  buffer<wire_type, Space> wire_, gathered_;
};

}  // namespace entrain::parallel::routes
