// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <entrain/engine/host.hpp>
#include <entrain/nn/host/layer_norm.hpp>
#include <entrain/nn/ops.hpp>

// Operations that move or add whole rows: as fast as memory.

namespace entrain::nn::ops {

template <class T>
void run(const engine::host&, const broadcast_rows& d, const T* bias, T* out) {
  for (std::size_t r = 0; r < d.rows; ++r) std::copy_n(bias, d.width, out + r * d.width);
}

template <class T>
void run(const engine::host&, const add& d, const T* a, const T* b, T* out) {
  using namespace nn::host;
  using namespace nn::host::detail;
  for_row<T>(d.count, [&](std::size_t i, std::size_t n) { store_some<T>(out + i, load_some(a + i, n) + load_some(b + i, n), n); });
}

// Runs down eight vectors of columns at a time, so that a cache line is read once and the sums stay in registers.
template <class T>
void run(const engine::host&, const column_sum& d, const T* in, T* out) {
  using namespace nn::host;
  using namespace nn::host::detail;
  constexpr std::size_t step = lane_count<T>;
  const auto columns = [&]<std::size_t Vectors>(std::size_t j, std::size_t n) {
    lanes<T> sums[Vectors] = {};
    for (std::size_t r = 0; r < d.rows; ++r)
      for (std::size_t v = 0; v < Vectors; ++v) sums[v] += load_some(in + r * d.width + j + v * step, n);
    for (std::size_t v = 0; v < Vectors; ++v) {
      T* const to = out + j + v * step;
      store_some<T>(to, d.accumulate ? sums[v] + load_some(to, n) : sums[v], n);
    }
  };
  const std::size_t whole = d.width / (8 * step) * (8 * step);
  for (std::size_t j = 0; j < whole; j += 8 * step) columns.template operator()<8>(j, step);
  for (std::size_t j = whole; j < d.width; j += step) columns.template operator()<1>(j, std::min(step, d.width - j));
}

template <class T>
void forward(const engine::host&, const embedding& d, const std::int32_t* ids, const T* table, T* out) {
  for (std::size_t r = 0; r < d.rows; ++r) std::copy_n(table + std::size_t(ids[r]) * d.width, d.width, out + r * d.width);
}

template <class T>
void backward(const engine::host& engine, const embedding& d, const std::int32_t* ids, const T* dout, T* dtable) {
  for (std::size_t r = 0; r < d.rows; ++r) {
    T* const row = dtable + std::size_t(ids[r]) * d.width;
    run(engine, add{d.width}, row, dout + r * d.width, row);
  }
}

}  // namespace entrain::nn::ops
