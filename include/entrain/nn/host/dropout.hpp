// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Dropout with four elements a Philox block, where asking for each element's number alone would compute each block four times.

namespace entrain::nn::ops {

template <class T>
void apply(const engine::host&, const dropout& d, const T* in, T* out) {
  const T scale = d.probability < 1 ? T(1) / (T(1) - T(d.probability)) : T(0);
  const auto keep = [&](std::uint32_t bits) { return float(bits >> 8) * 0x1p-24f >= d.probability; };
  for (std::size_t i = 0; i < d.count;) {
    const std::uint64_t index = d.first_index + i;
    const auto words = d.random.block(index / 4);
    const std::size_t first = index % 4, some = std::min<std::size_t>(4 - first, d.count - i);
    for (std::size_t w = 0; w < some; ++w) out[i + w] = keep(words[first + w]) ? in[i + w] * scale : T(0);
    i += some;
  }
}

}  // namespace entrain::nn::ops
