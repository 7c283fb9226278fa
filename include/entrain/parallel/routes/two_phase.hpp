// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <entrain/parallel/routes/route.hpp>

// Payloads that one rank combines for all: every block is cut into p parts, part j goes to rank j, which combines the p encodings
// that it gets and encodes the result, and the results go to everybody. Communication independent of p where a gather grows with it.
//
// Bytes: p parts in an all-to-all, of which p - 1 travel, and one part in an all-gather. Memory: four times the encoding.

namespace entrain::parallel::routes {

// Values of a part: equal for all, a multiple of 8 so that bits fill bytes. The last parts may be short or empty.
constexpr std::size_t part_values(std::size_t n, std::size_t ranks) { return ((n + ranks - 1) / ranks + 7) / 8 * 8; }

template <class T, class Communicator, class Compressor>
class two_phase : public packed<T, Communicator, Compressor> {
  using base = packed<T, Communicator, Compressor>;

 public:
  using typename base::wire_type;
  static constexpr int stages = 2;
  using base::base;

  std::size_t add_message(const std::vector<std::size_t>& blocks) {
    message m{{blocks, 0, 0, {}}, 0};
    for (const std::size_t i : blocks) m.part += part_count(i);
    m.count = m.part * this->ranks();
    m.first = space_.take(m.count);
    messages_.push_back(std::move(m));
    return messages_.size() - 1;
  }
  void begin_phase() { space_.begin_phase(); }
  void allocate() {
    out_ = buffer<wire_type>(space_.most()), in_ = buffer<wire_type>(space_.most());
    block_ = buffer<wire_type>(space_.most()), mine_ = buffer<wire_type>(space_.most() / this->ranks());
    message_of_.resize(this->layout_.blocks().size());
  }
  void begin_step(std::size_t m) {  // where a block's parts begin within the part of the message, and its own wire
    std::size_t at = 0;
    for (const std::size_t i : messages_[m].blocks) this->offset_[i] = at, at += part_count(i), message_of_[i] = m;
  }

  void encode(std::size_t block, const compress::context& where, std::span<T> gradient) {
    const auto& at = messages_[message_of_[block]];
    const std::size_t n = part_count(block);
    const std::span<wire_type> parts(block_.data() + at.first, n * this->ranks());
    this->compressor_.encode_parts(this->states_[block], this->key(where, block, this->comm_.rank()), this->values(block, gradient), each(block), parts);
    for (std::size_t j = 0; j < this->ranks(); ++j) std::copy_n(parts.data() + j * n, n, out_.data() + at.first + j * at.part + this->offset_[block]);
    where_ = where;
  }
  void start(std::size_t m, std::span<T>) {
    auto& at = messages_[m];
    at.pending = comm::start_all_to_all(this->comm_, view<const wire_type>(out_.data() + at.first, at.count), view<wire_type>(in_.data() + at.first, at.count));
  }
  void advance(std::size_t m, int stage, std::span<T>) {
    if (stage != 1) return;
    auto& at = messages_[m];
    at.pending.wait();
    wire_type* const own = mine_.data() + at.first / this->ranks();
    for (const std::size_t i : at.blocks) {
      const std::size_t n = part_count(i);
      for (std::size_t r = 0; r < this->ranks(); ++r) std::copy_n(in_.data() + at.first + r * at.part + this->offset_[i], n, block_.data() + at.first + r * n);
      this->compressor_.template combine<T>(this->states_[i], this->key(where_, i, this->comm_.rank()), std::span<const wire_type>(block_.data() + at.first, n * this->ranks()),
                                            part(i, std::size_t(this->comm_.rank())).second, std::span<wire_type>(own + this->offset_[i], n));
    }
    at.pending = comm::start_all_gather(this->comm_, view<const wire_type>(own, at.part), view<wire_type>(in_.data() + at.first, at.count));
  }
  void test(std::size_t m) { messages_[m].pending.test(); }
  void wait(std::size_t m) { messages_[m].pending.wait(); }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    const auto& at = messages_[m];
    for (const std::size_t i : at.blocks) {
      const auto out = this->values(i, gradient);
      std::fill(out.begin(), out.end(), T(0));
      for (std::size_t j = 0; j < this->ranks(); ++j) {
        const auto [first, count] = part(i, j);
        this->compressor_.decode_add(this->key(where, i, int(j)), std::span<const wire_type>(in_.data() + at.first + j * at.part + this->offset_[i], part_count(i)), out.subspan(first, count),
                                     scale);
      }
    }
  }
  void plan_of(std::size_t m, plan& p) const {
    p.push_back({"all_to_all", "gradient", sizeof(wire_type), messages_[m].count});
    p.push_back({"all_gather", "gradient", sizeof(wire_type), messages_[m].part});
  }

 private:
  struct message : base::message {
    std::size_t part = 0;  // wire elements for one rank
  };
  std::size_t each(std::size_t block) const { return part_values(this->layout_[block].count, this->ranks()); }
  std::size_t part_count(std::size_t block) const { return this->compressor_.template part_count<T>(each(block)); }
  // First value and number of values of a block's part.
  std::pair<std::size_t, std::size_t> part(std::size_t block, std::size_t j) const {
    const std::size_t n = this->layout_[block].count, first = std::min(n, j * each(block));
    return {first, std::min(n, first + each(block)) - first};
  }

  std::vector<message> messages_;
  std::vector<std::size_t> message_of_;
  compress::context where_;
  wire_space space_;
  buffer<wire_type> out_, in_, block_, mine_;
};

}  // namespace entrain::parallel::routes
