// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <entrain/core/batch.hpp>
#include <entrain/core/philox.hpp>

// A dataset of one's own in 40 lines: digits of a 5 x 7 font, drawn three times as large at random places of a 28 x 28
// image under noise. Every sample is a pure function of its index, so nothing is stored. Stands in where MNIST is not at hand.

struct glyphs {
  using batch_type = entrain::labelled_batch;
  std::uint64_t samples = 8000;
  std::uint64_t seed = 1;

  std::uint64_t size() const { return samples; }

  void fill(std::span<const std::uint64_t> indices, entrain::labelled_batch& batch) const {
    static constexpr std::array<std::array<unsigned char, 7>, 10> font{{{14, 17, 19, 21, 25, 17, 14}, {4, 12, 4, 4, 4, 4, 14}, {14, 17, 1, 2, 4, 8, 31},
                                                                        {31, 2, 4, 2, 1, 17, 14}, {2, 6, 10, 18, 31, 2, 2}, {31, 16, 30, 1, 1, 17, 14},
                                                                        {6, 8, 16, 30, 17, 17, 14}, {31, 1, 2, 4, 8, 8, 8}, {14, 17, 17, 14, 17, 17, 14},
                                                                        {14, 17, 17, 15, 1, 2, 12}}};
    batch.resize(indices.size(), 28 * 28);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      const entrain::random_stream random(seed, entrain::purpose::user, 0, indices[s]);
      const auto digit = std::size_t(random.below(1000, 10)), left = std::size_t(random.below(1001, 14)), top = std::size_t(random.below(1002, 8));
      batch.targets[s] = std::int32_t(digit);
      for (std::size_t y = 0; y < 28; ++y)
        for (std::size_t x = 0; x < 28; ++x) {
          const bool inside = y >= top && y < top + 21 && x >= left && x < left + 15;
          const bool ink = inside && (font[digit][(y - top) / 3] >> (4 - (x - left) / 3) & 1);
          batch.inputs[(s * 28 + y) * 28 + x] = (ink ? 1.0f : 0.0f) + 0.5f * (random.uniform(y * 28 + x) - 0.5f);
        }
    }
  }
};
