// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include <entrain/core/config.hpp>

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based
// generator. A number is a pure function of (seed, stream, step, index), so it is the same on host and device, for any
// number of ranks and after any restart, and nothing has to be saved but the seed.

namespace entrain {

using philox_counter = std::array<std::uint32_t, 4>;
using philox_key = std::array<std::uint32_t, 2>;

// Ten rounds on one counter block. 4 x 32 random bits.
ENTRAIN_HOST_DEVICE constexpr philox_counter philox4x32(philox_counter counter, philox_key key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t left = std::uint64_t(0xD2511F53u) * counter[0];
    const std::uint64_t right = std::uint64_t(0xCD9E8D57u) * counter[2];
    counter = {std::uint32_t(right >> 32) ^ counter[1] ^ key[0], std::uint32_t(right),
               std::uint32_t(left >> 32) ^ counter[3] ^ key[1], std::uint32_t(left)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// What a stream of random numbers is for. A stream of one purpose never meets one of another.
enum class purpose : std::uint32_t { initialise, order, dropout, compress, sample, user, rounding };

// Random numbers keyed by (seed, purpose, stream, step); `index` picks the number. Copying is free, there is no state.
// stream: below 2^24 (a layer, block or rank); step: below 2^32; index: below 2^34.
class random_stream {
 public:
  constexpr random_stream(std::uint64_t seed, purpose why, std::uint32_t stream = 0, std::uint64_t step = 0)
      : key_{std::uint32_t(seed), std::uint32_t(seed >> 32)},
        stream_((std::uint32_t(why) << 24) ^ stream),
        step_(std::uint32_t(step)) {}

  // Four words at once: the cheapest form, for loops.
  ENTRAIN_HOST_DEVICE constexpr philox_counter block(std::uint64_t i) const {
    return philox4x32({std::uint32_t(i), std::uint32_t(i >> 32), step_, stream_}, key_);
  }
  ENTRAIN_HOST_DEVICE constexpr std::uint32_t bits(std::uint64_t index) const { return block(index / 4)[index % 4]; }
  ENTRAIN_HOST_DEVICE constexpr std::uint64_t bits64(std::uint64_t index) const {
    const auto words = block(index / 2);
    return std::uint64_t(words[2 * (index % 2)]) << 32 | words[2 * (index % 2) + 1];
  }
  // Uniform in [0, 1) with 24 bits.
  ENTRAIN_HOST_DEVICE constexpr float uniform(std::uint64_t index) const { return float(bits(index) >> 8) * 0x1p-24f; }
  // Uniform integer in [0, n); the bias of the last bit is below n / 2^32, or n / 2^64 for larger n.
  ENTRAIN_HOST_DEVICE constexpr std::uint64_t below(std::uint64_t index, std::uint64_t n) const {
    return n <= 0xffffffffu ? (std::uint64_t(bits(index)) * n) >> 32 : bits64(index) % n;
  }
  // Standard normal by Box-Muller; two numbers share one block.
  double normal(std::uint64_t index) const {
    const auto words = block(index / 2);
    const double u = (double(words[0]) + 1.0) * 0x1p-32, v = double(words[1]) * 0x1p-32;
    const double radius = std::sqrt(-2.0 * std::log(u)), angle = 6.283185307179586476925 * v;
    return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }

 private:
  philox_key key_;
  std::uint32_t stream_, step_;
};

}  // namespace entrain
