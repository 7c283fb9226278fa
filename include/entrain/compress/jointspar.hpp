// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/block_bandit.hpp>
#include <entrain/compress/concepts.hpp>

// JointSpar (Liu & Mozafari, "Communication-efficient distributed learning for large batch optimization", ICML 2022): each step only
// some blocks of parameters are exchanged, drawn by a bandit that favours those with large gradients (compress/block_bandit.hpp).
// What is drawn before the backward pass begins need not be computed either: active(state) says so. All ranks share the seed
// and learn from the exchanged sums, so they draw the same blocks, and a dense sum over these travels.
//
// Wire: the values of drawn blocks, divided by their probability; nothing of the others. Expected: sum p_d n_d values, that is
// about `share` of all; at most all. Payload: summable. Memory: four numbers a block.
// Unbiased; E|x - q|^2 = (1/p - 1) |x|^2 of a block, 1/floor - 1 at worst.
//
// Pitfalls: a step may draw no block: it is then a step without change (drawing again would bias). With momentum, blocks that were not
// drawn must not be updated at all; with zero gradients their momentum would decay. Large steps need a smaller rate: variance grows by
// 1/p. blocks x floor must not exceed the budget: an error at the first step. The unit is the parameter block; the paper's
// is the layer. JointSpar-LARS is this with optim::lars.

namespace entrain::compress {

struct jointspar {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool unbiased = true, variable = true, shared_seed = true;
  template <class T>
  using wire_type = T;

  double share = 0.75;    // S / D, where budget == 0
  double budget = 0;      // S, blocks a step
  double floor = 0.0125;  // least probability of a block
  double rate = 1e-3;     // of the bandit; norms are relative to the largest so far, so it has no unit
  bool shift = false;     // the paper's shifted losses

  template <class T>
  struct state : block_arm {
    bool encoded = false;  // in this step
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  state<T> make_state(const block& b) const {
    state<T> s;
    s.count = b.count;
    return s;
  }
  double contraction(const block&) const { return 2 - 1 / floor; }

  // Before each step, with the states of all blocks.
  template <class State>
  void begin_step(std::span<State> states, const context& where) const {
    const block_bandit bandit = made_for(states);
    bandit.learn(states);
    constexpr std::uint32_t no_block = (1u << 24) - 1;
    bandit.draw(states, random_stream(where.seed, purpose::compress, no_block, where.step), where.block);
    for (State& s : states) s.encoded = false;
  }

  // Whether the step's gradient of the block matters.
  template <class T>
  bool active(const state<T>& s) const { return s.drawn != 0; }

  template <class T>
  std::size_t encode(state<T>& s, const context&, std::span<T> values, std::span<T> wire) const {
    s.encoded = true;
    if (s.drawn == 0) return 0;
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = T(double(values[i]) / s.probability);
    return values.size();
  }

  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] += scale * wire[i];
  }

  // The settled sum, the same on every rank, tells the bandit the norm. A block that travelled otherwise teaches nothing.
  template <class T>
  void after_exchange(state<T>& s, const context&, std::span<T> values) const {
    if (!s.encoded || s.drawn == 0) return;
    double squares = 0;
    for (const T v : values) squares += double(v) * double(v);
    s.norm = std::sqrt(squares) * s.probability;
    s.largest = s.norm > s.largest ? s.norm : s.largest;
  }

  std::string describe() const {
    return describe_members("jointspar", budget > 0 ? "budget" : "share", budget > 0 ? budget : share, "floor", floor, "rate", rate, "shift", shift);
  }
  friend bool operator==(const jointspar&, const jointspar&) = default;

 private:
  template <class State>
  block_bandit made_for(std::span<State> states) const {
    std::size_t blocks = 0;
    for (const State& s : states) blocks += s.count != 0;
    return {.budget = budget > 0 ? budget : share * double(blocks), .floor = floor, .rate = rate, .shift = shift};
  }
};

}  // namespace entrain::compress
