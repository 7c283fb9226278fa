// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Sums of columns, which are gradients of biases. The matrix is read once, 16 bytes a thread: 50 MB for [32768, 768] in bfloat16, 12 us at
// 4.3 TB/s. Parts of the rows are summed side by side, then the parts in their order: the same bits in every run and on every device.
// What the parts leave takes 1 MiB of the workspace at most; on a stream that has none there is one part.

namespace entrain::device {

inline constexpr unsigned column_sum_threads = 256;

// A block sums `Lanes` groups of `Each` neighbouring columns over the rows of one part: blockIdx = (columns, part), blockDim = (Lanes, 256 / Lanes).
// out[part, column]; where `accumulate`, added to what is there.
template <class In, class Out, int Each, int Lanes>
__global__ void column_sum_of_parts(const In* in, Out* out, std::size_t rows, std::size_t width, std::size_t rows_a_part, bool accumulate) {
  using A = arithmetic<In>;
  constexpr int teams = int(column_sum_threads) / Lanes;
  __shared__ A partial[teams][Lanes * Each];
  const std::size_t column = (std::size_t(blockIdx.x) * Lanes + threadIdx.x) * Each, first = std::size_t(blockIdx.y) * rows_a_part;
  const std::size_t last = first + rows_a_part < rows ? first + rows_a_part : rows;
  A sum[Each] = {};
  if (column < width) {
    std::size_t r = first + threadIdx.y;
    if constexpr (Each == 1) {
      for (; r < last; r += teams) sum[0] += A(in[r * width + column]);
    } else {
      for (; r + 3 * teams < last; r += 4 * teams) {  // four loads under way
        const pack<In> a = load_once(in + r * width + column), b = load_once(in + (r + teams) * width + column);
        const pack<In> c = load_once(in + (r + 2 * teams) * width + column), d = load_once(in + (r + 3 * teams) * width + column);
        for (int j = 0; j < Each; ++j) sum[j] = sum[j] + a[j] + b[j] + c[j] + d[j];
      }
      for (; r < last; r += teams) {
        const pack<In> a = load_once(in + r * width + column);
        for (int j = 0; j < Each; ++j) sum[j] += a[j];
      }
    }
  }
  for (int j = 0; j < Each; ++j) partial[threadIdx.y][j * Lanes + int(threadIdx.x)] = sum[j];
  __syncthreads();
  // One thread a column takes the teams in their order.
  for (int i = int(threadIdx.y) * Lanes + int(threadIdx.x); i < Lanes * Each; i += int(column_sum_threads)) {
    const std::size_t at = (std::size_t(blockIdx.x) * Lanes + std::size_t(i) / Each) * Each + std::size_t(i) % Each;
    if (at >= width) continue;
    A total = 0;
    for (int t = 0; t < teams; ++t) total += partial[t][i % Each * Lanes + i / Each];
    Out& to = out[blockIdx.y * width + at];
    to = Out(accumulate ? A(to) + total : total);
  }
}

namespace detail {

template <int Lanes, class In, class Out>
void sum_columns(const engine::cuda_queue& queue, const In* in, Out* out, std::size_t rows, std::size_t width, std::size_t parts, bool accumulate) {
  constexpr int each = pack<In>::count;
  const std::size_t rows_a_part = std::max<std::size_t>(1, (rows + parts - 1) / parts);
  const dim3 threads(Lanes, column_sum_threads / Lanes);
  if (aligned(in) && width % each == 0)
    launch(queue, column_sum_of_parts<In, Out, each, Lanes>, {dim3(ceil_div(width, Lanes * each), unsigned(parts)), threads}, in, out, rows, width, rows_a_part, accumulate);
  else launch(queue, column_sum_of_parts<In, Out, 1, Lanes>, {dim3(ceil_div(width, Lanes), unsigned(parts)), threads}, in, out, rows, width, rows_a_part, accumulate);
}

}  // namespace detail

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void run(const engine::cuda_queue& queue, const column_sum& op, const T* in, T* out) {
  using A = device::arithmetic<T>;
  constexpr std::size_t blocks_wanted = 512, least_rows = 32;  // four blocks a multiprocessor, four rows a thread
  const std::size_t strips = device::ceil_div(op.width, device::aligned(in) && op.width % device::pack<T>::count == 0 ? 32 * device::pack<T>::count : 32);
  const std::size_t wanted = std::min<std::size_t>(blocks_wanted / std::max<std::size_t>(1, strips), op.rows / least_rows);
  const auto workspace = queue.workspace();
  if (wanted <= 1 || workspace.size() < wanted * op.width * sizeof(A)) return device::detail::sum_columns<32>(queue, in, out, op.rows, op.width, 1, op.accumulate);
  A* const partial = reinterpret_cast<A*>(workspace.data());
  device::detail::sum_columns<32>(queue, in, partial, op.rows, op.width, wanted, false);
  device::detail::sum_columns<8>(queue, static_cast<const A*>(partial), out, wanted, op.width, 1, op.accumulate);
}

}  // namespace entrain::nn::ops
