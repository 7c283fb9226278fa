// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <entrain/compress/concepts.hpp>

// One block on p ranks in one process: step() does with any payload what the exchange does, one rank after another, so that tests can
// look at every rank's state. dense() is a step in which the block travels as it is, as compress::after has it at the start.

namespace test {

namespace en = entrain;

template <class T, class C>
class by_hand {
  using wire = en::compress::wire_of<C, T>;
  using values = std::vector<T>;

 public:
  std::vector<en::compress::state_of<C, T>> states;

  by_hand(const C& c, en::compress::block b, std::size_t ranks) : c_(c), block_(b) {
    block_.ranks = ranks;
    for (std::size_t r = 0; r < ranks; ++r) states.push_back(c_.template make_state<T>(block_));
  }

  std::size_t ranks() const { return states.size(); }
  // Values of a rank's part of a two-phase payload.
  std::size_t each() const { return ((block_.count + ranks() - 1) / ranks() + 7) / 8 * 8; }

  // What every rank holds afterwards, one vector a rank.
  std::vector<values> step(std::vector<values> g, std::uint64_t step) {
    if constexpr (C::payload == en::compress::payload_kind::two_phase) two_phases(g, step);
    else if constexpr (C::payload == en::compress::payload_kind::rounds) rounds(g, step);
    else gathered(g, step);
    tell(g, step);
    return g;
  }
  std::vector<values> dense(std::vector<values> g, std::uint64_t step) {
    values sum(block_.count, T(0));
    for (const auto& one : g)
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
    for (auto& one : g) one = sum;
    tell(g, step);
    return g;
  }

 private:
  en::compress::context key(std::uint64_t step, std::size_t rank) const {
    return {.seed = 11, .step = step, .block = block_.index, .rank = std::uint32_t(rank), .ranks = std::uint32_t(ranks()), .learning_rate = 0.01, .rows = block_.rows, .columns = block_.columns};
  }
  void tell(std::vector<values>& g, std::uint64_t step) {
    if constexpr (requires(std::span<T> v) { c_.after_exchange(states[0], key(0, 0), v); })
      for (std::size_t r = 0; r < ranks(); ++r) c_.after_exchange(states[r], key(step, r), std::span<T>(g[r]));
  }

  void gathered(std::vector<values>& g, std::uint64_t step) {
    values sum(block_.count, T(0));
    for (std::size_t r = 0; r < ranks(); ++r) {
      std::vector<wire> sent(c_.template wire_count<T>(block_));
      sent.resize(en::compress::encoded(c_, states[r], key(step, r), std::span<T>(g[r]), std::span<wire>(sent)));
      c_.decode_add(key(step, r), std::span<const wire>(sent), std::span<T>(sum), T(1));
    }
    for (auto& one : g) one = sum;
  }

  void two_phases(std::vector<values>& g, std::uint64_t step) {
    const std::size_t n = block_.count, length = c_.template part_count<T>(each());
    std::vector<std::vector<wire>> sent(ranks(), std::vector<wire>(ranks() * length));
    for (std::size_t r = 0; r < ranks(); ++r) c_.encode_parts(states[r], key(step, r), std::span<T>(g[r]), each(), std::span<wire>(sent[r]));
    values sum(n, T(0));
    for (std::size_t j = 0; j < ranks(); ++j) {
      std::vector<wire> arrived, out(length);
      for (const auto& s : sent) arrived.insert(arrived.end(), s.begin() + std::ptrdiff_t(j * length), s.begin() + std::ptrdiff_t((j + 1) * length));
      const std::size_t first = std::min(n, j * each()), count = std::min(n, first + each()) - first;
      c_.template combine<T>(states[j], key(step, j), std::span<const wire>(arrived), count, std::span<wire>(out));
      c_.decode_add(key(step, j), std::span<const wire>(out), std::span<T>(sum).subspan(first, count), T(1));
    }
    for (auto& one : g) one = sum;
  }

  void rounds(std::vector<values>& g, std::uint64_t step) {
    if constexpr (C::payload == en::compress::payload_kind::rounds) {
      std::vector<wire> summed;
      for (int round = 0; round < C::rounds; ++round) {
        std::vector<wire> next(c_.template round_count<T>(block_, round), wire(0)), mine(next.size());
        for (std::size_t r = 0; r < ranks(); ++r) {
          c_.round(states[r], key(step, r), round, std::span<T>(g[r]), std::span<const wire>(summed), std::span<wire>(mine));
          for (std::size_t i = 0; i < next.size(); ++i) next[i] = wire(next[i] + mine[i]);
        }
        summed = next;
      }
      for (std::size_t r = 0; r < ranks(); ++r) c_.finish(states[r], key(step, r), std::span<const wire>(summed), std::span<T>(g[r]));
    }
  }

  C c_;
  en::compress::block block_;
};

}  // namespace test
