// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <entrain/parallel/routes/route.hpp>

// Payloads of several rounds: each is a sum over ranks, and what is summed next is computed from the result before. The gradient
// stays in the arena until the last round has ended.
//
// Bytes: round_count of its blocks, every round. Memory: twice the longest round.

namespace entrain::parallel::routes {

template <class T, class Communicator, class Compressor>
class in_rounds : public packed<T, Communicator, Compressor> {
  using base = packed<T, Communicator, Compressor>;

 public:
  using typename base::wire_type;
  static constexpr int stages = Compressor::rounds;
  using base::base;

  std::size_t add_message(const std::vector<std::size_t>& blocks) {
    message m{{blocks, 0, 0, {}}, {}};
    for (int r = 0; r < stages; ++r) {
      for (const std::size_t i : blocks) m.length[std::size_t(r)] += count(i, r);
      m.count = std::max(m.count, m.length[std::size_t(r)]);
    }
    m.first = space_.take(m.count);
    messages_.push_back(std::move(m));
    return messages_.size() - 1;
  }
  void begin_phase() { space_.begin_phase(); }
  void allocate() {
    for (auto& w : wire_) w = buffer<wire_type>(space_.most());
  }
  void begin_step(std::size_t m) {
    std::size_t at = messages_[m].first;
    for (const std::size_t i : messages_[m].blocks) this->offset_[i] = at, at += count(i, 0);
  }

  void encode(std::size_t block, const compress::context& where, std::span<T> gradient) {
    this->compressor_.round(this->states_[block], this->key(where, block, this->comm_.rank()), 0, this->values(block, gradient), std::span<const wire_type>(),
                            std::span<wire_type>(wire_[0].data() + this->offset_[block], count(block, 0)));
    where_ = where;
  }
  void start(std::size_t m, std::span<T>) { sum(m, 0); }
  void advance(std::size_t m, int r, std::span<T> gradient) {
    if (r >= stages) return;
    auto& at = messages_[m];
    at.pending.wait();
    std::size_t from = at.first, to = at.first;
    for (const std::size_t i : at.blocks) {
      this->compressor_.round(this->states_[i], this->key(where_, i, this->comm_.rank()), r, this->values(i, gradient),
                              std::span<const wire_type>(wire_[std::size_t(r - 1) % 2].data() + from, count(i, r - 1)), std::span<wire_type>(wire_[std::size_t(r) % 2].data() + to, count(i, r)));
      from += count(i, r - 1), to += count(i, r);
    }
    sum(m, r);
  }
  void test(std::size_t m) { messages_[m].pending.test(); }
  void wait(std::size_t m) { messages_[m].pending.wait(); }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    std::size_t from = messages_[m].first;
    for (const std::size_t i : messages_[m].blocks) {
      const auto out = this->values(i, gradient);
      this->compressor_.finish(this->states_[i], this->key(where, i, this->comm_.rank()), std::span<const wire_type>(wire_[(stages - 1) % 2].data() + from, count(i, stages - 1)), out);
      from += count(i, stages - 1);
      if (scale != T(1))
        for (T& v : out) v *= scale;
    }
  }
  void plan_of(std::size_t m, plan& p) const {
    for (const std::size_t n : messages_[m].length) p.push_back({"all_reduce", "gradient", sizeof(wire_type), n});
  }

 private:
  struct message : base::message {
    std::array<std::size_t, std::size_t(stages)> length{};  // of each round
  };
  std::size_t count(std::size_t block, int r) const { return this->compressor_.template round_count<T>(this->description(block), r); }
  void sum(std::size_t m, int r) {
    auto& at = messages_[m];
    const view<wire_type> all(wire_[std::size_t(r) % 2].data() + at.first, at.length[std::size_t(r)]);
    at.pending = comm::start_all_reduce(this->comm_, view<const wire_type>(all), all, comm::sum{});
  }

  std::vector<message> messages_;
  compress::context where_;
  wire_space space_;
  std::array<buffer<wire_type>, 2> wire_;
};

}  // namespace entrain::parallel::routes
