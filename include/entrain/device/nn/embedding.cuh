// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <entrain/device/launch.cuh>
#include <entrain/device/nn/embedding/sort.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/device/workspace.cuh>
#include <entrain/nn/ops.hpp>

// Embedding. Forward: a warp copies a row; reads and writes n = rows * width elements (32768 x 768 in bf16: 101 MB, 23 us at 4.3 TB/s).
// Backward: rows are sorted by id, then the block at the first row of an id sums all rows of that id, 8 at a time, in an order that the
// ids alone determine, and adds the sum to the table once; work is linear in rows and independent of the vocabulary. Reads n elements,
// and reads and writes the table's rows that occur: 50 MB and at most 101 MB, 12 to 35 us, and the sort's 6 small launches.

namespace entrain::device {

inline constexpr int embedding_slots = 8;

// Columns: a pack, or one where rows are not aligned. Threads [32, 8].
template <class T, int Columns>
__global__ void embedding_forward(nn::ops::embedding op, const std::int32_t* ids, const T* table, T* out) {
  const std::size_t r = std::size_t(blockIdx.x) * embedding_slots + threadIdx.y;
  if (r >= op.rows) return;
  const T* from = table + std::size_t(ids[r]) * op.width;
  T* to = out + r * op.width;
  for (std::size_t j = threadIdx.x * Columns; j < op.width; j += 32 * Columns)
    if constexpr (Columns == 1) to[j] = from[j];
    else store(to + j, load(from + j));
}

template <class T, int Columns>
struct column_sums {
  arithmetic<T> value[Columns] = {};
  __device__ void add(const T* from) {
    if constexpr (Columns == 1) value[0] += arithmetic<T>(*from);
    else {
      const pack<T> x = load_once(from);
      ENTRAIN_UNROLL for (int k = 0; k < Columns; ++k) value[k] += x[k];
    }
  }
};

// Blocks [sorted rows, 32 Columns columns], threads [32, 8].
template <class T, int Columns>
__global__ void __launch_bounds__(32 * embedding_slots) embedding_backward(nn::ops::embedding op, sorted_rows sorted, const T* dout, T* dtable) {
  using A = arithmetic<T>;
  constexpr int width = 32 * Columns, step = embedding_slots;
  __shared__ A sums[embedding_slots][width];
  const std::int32_t id = sorted.ids[blockIdx.x];
  if (blockIdx.x > 0 && sorted.ids[blockIdx.x - 1] == id) return;
  const std::size_t first_column = std::size_t(blockIdx.y) * width, column = first_column + threadIdx.x * Columns;
  column_sums<T, Columns> sum;
  if (column < op.width) {
    const T* from = dout + column;
    std::size_t i = std::size_t(blockIdx.x) + threadIdx.y;
    for (; i + 3 * step < op.rows && sorted.ids[i + 3 * step] == id; i += 4 * step) {  // four rows under way at once
      ENTRAIN_UNROLL for (int k = 0; k < 4; ++k) sum.add(from + std::size_t(sorted.rows[i + std::size_t(k * step)]) * op.width);
    }
    for (; i < op.rows && sorted.ids[i] == id; i += step) sum.add(from + std::size_t(sorted.rows[i]) * op.width);
  }
  ENTRAIN_UNROLL for (int k = 0; k < Columns; ++k) sums[threadIdx.y][threadIdx.x * Columns + k] = sum.value[k];
  __syncthreads();
  for (int j = int(threadIdx.y * 32 + threadIdx.x); j < width; j += 32 * embedding_slots) {
    if (first_column + std::size_t(j) >= op.width) continue;
    A total = 0;
    for (int s = 0; s < embedding_slots; ++s) total += sums[s][j];
    T& to = dtable[std::size_t(id) * op.width + first_column + std::size_t(j)];
    to = T(A(to) + total);
  }
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void forward(const engine::cuda_queue& queue, const embedding& op, const std::int32_t* ids, const T* table, T* out) {
  constexpr int count = device::pack<T>::count;
  const device::shape how{device::ceil_div(op.rows, device::embedding_slots), dim3(32, device::embedding_slots)};
  if (op.width % count == 0 && device::aligned(table) && device::aligned(out)) device::launch(queue, device::embedding_forward<T, count>, how, op, ids, table, out);
  else device::launch(queue, device::embedding_forward<T, 1>, how, op, ids, table, out);
}

// As many rows at a time as can be sorted in the engine's workspace: about 1.9 million.
template <class T>
void backward(const engine::cuda_queue& queue, const embedding& op, const std::int32_t* ids, const T* dout, T* dtable) {
  constexpr int count = device::pack<T>::count;
  const auto workspace = device::workspace_for(queue, "backward of embedding", 18 * device::sort_tile);
  const std::size_t at_once = (workspace.size() / 18) / device::sort_tile * device::sort_tile;
  const bool packs = op.width % count == 0 && device::aligned(dout) && device::aligned(dtable);
  for (std::size_t first = 0; first < op.rows; first += at_once) {
    const embedding part{std::min(at_once, op.rows - first), op.width, op.vocabulary};
    const device::sorted_rows sorted = device::sort_rows_by_id(queue, ids + first, part.rows, op.vocabulary, workspace.data());
    const device::shape how{dim3(unsigned(part.rows), device::ceil_div(op.width, packs ? 32 * count : 32)), dim3(32, device::embedding_slots)};
    const T* from = dout + first * op.width;
    if (packs) device::launch(queue, device::embedding_backward<T, count>, how, part, sorted, from, dtable);
    else device::launch(queue, device::embedding_backward<T, 1>, how, part, sorted, from, dtable);
  }
}

}  // namespace entrain::nn::ops
