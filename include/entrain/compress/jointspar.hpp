// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <entrain/core/describe.hpp>
#include <entrain/compress/block_bandit.hpp>
#include <entrain/compress/concepts.hpp>

// JointSpar (Liu & Mozafari, "Communication-efficient distributed learning for large batch optimization", ICML 2022): each step only
// some blocks of parameters are exchanged, drawn by a bandit that favours those with large gradients (compress/block_bandit.hpp).
// What is drawn before the backward pass begins need not be computed either: active(state) says so. All ranks share the seed
// and learn from the exchanged sums, so they draw the same blocks, and a dense sum over these travels.
//
// Wire: the values of drawn blocks, divided by their probability; nothing of the others. Expected: sum p_d n_d values; at most
// all of them. Payload: summable. Memory: five numbers a block.
// Unbiased; E|x - q|^2 = (1/p - 1) |x|^2 of a block, 1/floor - 1 at worst.
//
// Blocks of one layer ("fc.weight" and "fc.bias": the same name up to the last dot, one after another) are drawn together, as in the
// paper: half a layer saves little computation. layers = false draws each block by itself.
//
// Pitfalls: a step may draw no block: it is then a step without change (drawing again would bias). With momentum, blocks that were not
// drawn must not be updated at all; with zero gradients their momentum would decay. Large steps need a smaller rate: variance grows by
// 1/p. layers x floor must not exceed the budget: an error at the first step. JointSpar-LARS is this with optim::lars.

namespace entrain::compress {

struct jointspar {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool unbiased = true, variable = true, shared_seed = true;
  template <class T>
  using wire_type = T;

  double share = 0.75;    // S / D, where budget == 0
  double budget = 0;      // S, layers a step
  double floor = 0.0125;  // least probability of a layer
  double rate = 1e-3;     // of the bandit; norms are relative to the largest so far, so it has no unit
  bool shift = false;     // the paper's shifted losses
  bool layers = true;     // draw layers, not blocks

  template <class T>
  struct state : block_arm {
    std::uint64_t layer = 0;   // what it is drawn together with; 0: nothing
    std::size_t count = 0;     // values; 0 where it travels otherwise
    bool encoded = false;      // in this step
    double block_norm = 0;     // its share of the norm
    void visit(auto&& visitor) { block_arm::visit(visitor), visitor("block_norm", block_norm); }
  };

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  state<T> make_state(const block& b) const {
    state<T> s;
    s.count = b.count, s.plays = b.count > 0;
    if (layers && b.name.find('.') != std::string_view::npos) {
      s.layer = 0xcbf29ce484222325u;  // FNV-1a
      for (const char c : b.name.substr(0, b.name.rfind('.'))) s.layer = (s.layer ^ std::uint64_t(std::uint8_t(c))) * 0x100000001b3u;
    }
    return s;
  }
  double contraction(const block&) const { return 2 - 1 / floor; }

  // Before each step, with the states of all blocks.
  template <class State>
  void begin_step(std::span<State> states, const context& where) const {
    lead(states);
    const block_bandit bandit = made_for(states);
    bandit.learn(states);
    constexpr std::uint32_t no_block = (1u << 24) - 1;
    bandit.draw(states, random_stream(where.seed, purpose::compress, no_block, where.step), where.block);
    const State* leader = nullptr;
    for (State& s : states) {
      if (s.count == 0) continue;
      if (s.plays) leader = &s;
      s.probability = leader->probability, s.drawn = leader->drawn, s.block_norm = 0, s.encoded = false;
    }
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
    s.block_norm = std::sqrt(squares) * s.probability;
  }

  std::string describe() const {
    return describe_members("jointspar", budget > 0 ? "budget" : "share", budget > 0 ? budget : share, "floor", floor, "rate", rate, "shift", shift, "layers", layers);
  }
  friend bool operator==(const jointspar&, const jointspar&) = default;

 private:
  // The first block of each layer plays, with the norm of all of it.
  template <class State>
  static void lead(std::span<State> states) {
    State* leader = nullptr;
    for (State& s : states) {
      if (s.count == 0) continue;
      s.plays = !leader || s.layer == 0 || s.layer != leader->layer;
      if (s.plays) leader = &s, s.norm = 0;
      leader->norm = std::hypot(leader->norm, s.block_norm);
      leader->largest = std::max(leader->largest, leader->norm);
    }
  }
  template <class State>
  block_bandit made_for(std::span<State> states) const {
    std::size_t arms = 0;
    for (const State& s : states) arms += s.plays;
    return {.budget = budget > 0 ? budget : share * double(arms), .floor = floor, .rate = rate, .shift = shift};
  }
};

}  // namespace entrain::compress
