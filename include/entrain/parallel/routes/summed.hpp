// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <entrain/parallel/routes/route.hpp>

// Summable payloads, packed block behind block: one all-reduce a message. A `variable` compressor's lengths must be the same on
// every rank (they follow from the shared seed), so that only what is there travels.
//
// Bytes: the wire_count of its blocks. Memory: the same.

namespace entrain::parallel::routes {

template <class T, class Communicator, class Compressor, class Space = host_space>
class summed : public packed<T, Communicator, Compressor> {
  using base = packed<T, Communicator, Compressor>;
  using typename base::message;
  static constexpr bool variable = compress::is_variable<Compressor>;

 public:
  using typename base::wire_type;
  static constexpr int stages = 1;
  using base::base;

  std::size_t add_message(const std::vector<std::size_t>& blocks) {
    std::size_t count = 0;
    for (const std::size_t i : blocks) count += capacity(i);
    message m{blocks, space_.take(count), count, {}};
    filled_.resize(this->layout_.blocks().size());
    messages_.push_back(std::move(m));
    return messages_.size() - 1;
  }
  void begin_phase() { space_.begin_phase(); }
  void allocate() { wire_ = buffer<wire_type, Space>(space_.most()); }
  void begin_step(std::size_t m) {
    std::size_t at = messages_[m].first;
    for (const std::size_t i : messages_[m].blocks) this->offset_[i] = at, at += capacity(i);
  }

  void encode(std::size_t block, const compress::context& where, std::span<T> gradient) {
    filled_[block] = compress::encoded(this->compressor_, this->states_[block], this->key(where, block, this->comm_.rank()), this->values(block, gradient),
                                       std::span<wire_type>(wire_.data() + this->offset_[block], capacity(block)));
  }
  void start(std::size_t m, std::span<T>) {
    auto& at = messages_[m];
    std::size_t end = at.first;
    for (const std::size_t i : at.blocks) {
      if (variable && this->offset_[i] != end)
        std::copy_n(wire_.data() + this->offset_[i], filled_[i], wire_.data() + end), this->offset_[i] = end;
      end += filled_[i];
    }
    const view<wire_type> all(wire_.data() + at.first, end - at.first);
    at.pending = comm::start_all_reduce(this->comm_, view<const wire_type>(all), all, comm::sum{});
  }
  void advance(std::size_t, int, std::span<T>) {}
  void test(std::size_t m) { messages_[m].pending.test(); }
  void wait(std::size_t m) { messages_[m].pending.wait(); }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    for (const std::size_t i : messages_[m].blocks) {
      const auto out = this->values(i, gradient);
      std::fill(out.begin(), out.end(), T(0));
      this->compressor_.decode_add(this->key(where, i, 0), std::span<const wire_type>(wire_.data() + this->offset_[i], filled_[i]), out, scale);
    }
  }
  void plan_of(std::size_t m, plan& p) const { p.push_back({"all_reduce", "gradient", sizeof(wire_type), messages_[m].count, -1, variable}); }

 protected:
  std::size_t capacity(std::size_t block) const { return this->compressor_.template wire_count<T>(this->description(block)); }

  std::vector<message> messages_;
  std::vector<std::size_t> filled_;
  wire_space space_;
  buffer<wire_type, Space> wire_;
};

}  // namespace entrain::parallel::routes
