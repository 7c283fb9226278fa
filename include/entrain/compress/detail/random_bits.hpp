// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <entrain/core/config.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/compress/concepts.hpp>

// Random words for the inner loops of compressors: word i is a pure function of (seed, step, block, rank, i), so it is the
// same whatever the chunks, lanes or order in which values are visited, and nothing has to be saved. In a loop over values,
//
//   const detail::random_words random(where);
//   ENTRAIN_VECTORISE
//   for (std::uint32_t i = 0; i < n; ++i) out[i] = random.uniform(first + i) < in[i];
//
// it vectorises: two 32-bit multiplications and three xor-shifts a word, 0.1 to 0.2 ns with AVX-512. Philox itself takes ten
// multiplications of 32 x 32 to 64 bits for two words, about five times as long: more than all else that a quantiser does.
//
// Philox makes the 64-bit key of a stream; index + key goes through a multiply and xor-shift hash (constants: C. Wellons'
// search for 32-bit functions of least bias, hash-prospector), with the second half of the key mixed in halfway. Quality:
// each bit of the index flips each bit of the word with a chance of 1/2 within 0.8 % at worst and 0.1 % in the mean. Good
// for rounding, thinning and sampling of gradients. It is no generator for simulations: within a stream each word comes once
// in 2^32 (it is a permutation of the indices, and repeats after 2^32), and it hides no secrets.

namespace entrain::compress::detail {

class random_words {
 public:
  constexpr random_words() = default;
  // The stream of this rank, block and step: independent of every other rank's. `draw` tells apart several words a value.
  explicit constexpr random_words(const context& where, std::uint64_t draw = 0)
      : random_words(random_stream(where.seed, purpose::compress, where.block * 4096 + where.rank, where.step), draw) {}

  // Of any Philox stream; for what all ranks must draw alike, one that does not depend on the rank.
  explicit constexpr random_words(const random_stream& stream, std::uint64_t draw = 0) {
    const philox_counter key = stream.block(draw);
    add_ = key[0], mix_ = key[1];
  }

  ENTRAIN_HOST_DEVICE constexpr std::uint32_t operator[](std::uint32_t i) const {
    std::uint32_t x = i + add_;
    x ^= x >> 16;
    x = (x * 0x21f0aaadu) ^ mix_;
    x ^= x >> 15;
    x *= 0xd35a2d97u;
    return x ^ (x >> 15);
  }

  // Uniform in [0, 1) with 24 bits, exact in float.
  ENTRAIN_HOST_DEVICE constexpr float uniform(std::uint32_t i) const { return float(std::int32_t((*this)[i] >> 8)) * 0x1p-24f; }

 private:
  std::uint32_t add_ = 0, mix_ = 0;
};

}  // namespace entrain::compress::detail
