// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include <entrain/compress/choices.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/describe.hpp>

// Dense for the first `steps` steps, then compressed: the first gradients are large and turn fast, and methods such as
// PowerSGD, 1-bit SGD, 1-bit Adam and DRAGONN are started like this in their papers.
//
//   compress::after{200, compress::error_feedback{compress::dragonn{}}}
//
// Steps are counted from the beginning of the training, also across checkpoints. A compressor with after_exchange() hears
// every settled sum, also while its blocks still travel densely.

namespace entrain::compress {

template <class C>
struct after {
  using slot_type = slot::compression;
  static constexpr bool delivers_momentum = compress::delivers_momentum<C>();  // once it does not travel densely any more
  std::uint64_t steps;
  C compressor;

  constexpr after(std::uint64_t first_steps, C c) : steps(first_steps), compressor(c) {}

  std::tuple<none, C> choices() const { return {none{}, compressor}; }
  std::size_t choose(const block&, std::uint64_t step) const { return step >= steps; }
  std::uint64_t changes_at() const { return steps; }

  std::string describe() const { return "after{" + std::to_string(steps) + ", " + entrain::describe(compressor) + "}"; }
  friend bool operator==(const after&, const after&) = default;
};

}  // namespace entrain::compress
