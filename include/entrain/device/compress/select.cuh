// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <entrain/compress/detail/select.hpp>
#include <entrain/device/compress/arithmetic.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>

// The k-th largest magnitude exactly, without the host: eleven bits a pass, three passes for floats (six for doubles), each a histogram of
// those that share the bits found so far and one block that picks the bin. Counts are whole numbers, so the order of atomics is no matter.
// Bytes: n values a pass; a selection that is not `active` costs its launches.

namespace entrain::device {

inline constexpr int digit_bits = 11, digit_bins = 1 << digit_bits;

// Before: rank is k. After: threshold is the k-th largest magnitude, rank how many of those equal to it are wanted.
struct selection {
  std::uint64_t threshold;
  std::uint32_t rank, active, recount, padding;
};

// Sum of what threads with a lower number have; the total for all.
__device__ inline std::uint32_t block_scan(std::uint32_t value, std::uint32_t& total) {
  __shared__ std::uint32_t of_warp[warp_size];
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size, warps = int(blockDim.x) / warp_size;
  std::uint32_t sum = value;
  for (int distance = 1; distance < warp_size; distance *= 2) {
    const std::uint32_t below = __shfl_up_sync(all_lanes, sum, unsigned(distance));
    if (lane >= distance) sum += below;
  }
  if (lane == warp_size - 1) of_warp[warp] = sum;
  __syncthreads();
  std::uint32_t before = 0;
  total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += of_warp[w];
    total += of_warp[w];
  }
  __syncthreads();
  return before + sum - value;
}

template <int>
__global__ void begin_selection(selection* s, std::uint32_t k, std::uint32_t* bins) {
  for (int i = int(threadIdx.x); i < digit_bins; i += int(blockDim.x)) bins[i] = 0;
  if (threadIdx.x == 0) *s = {0, k, 1, 0, 0};
}

template <class T>
__global__ void __launch_bounds__(512) count_digits(const T* values, std::size_t n, int shift, int width, const selection* s, std::uint32_t* bins) {
  __shared__ std::uint32_t mine[digit_bins];
  if (!s->active) return;
  using bits = compress::detail::magnitude_bits<T>;
  const bits known = bits(s->threshold);
  for (int i = int(threadIdx.x); i < digit_bins; i += int(blockDim.x)) mine[i] = 0;
  __syncthreads();
  for (std::size_t i = thread_index(); i < n; i += thread_count()) {
    const bits m = compress::detail::magnitude(values[i]);
    if (((m ^ known) >> shift) >> width == 0) atomicAdd(&mine[(m >> shift) & ((1u << width) - 1)], 1u);
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < digit_bins; i += int(blockDim.x))
    if (mine[i] != 0) atomicAdd(&bins[i], mine[i]);
}

// One block of 1024 threads, two bins each, from the top.
template <int>
__global__ void __launch_bounds__(1024) pick_digit(int shift, selection* s, std::uint32_t* bins) {
  if (!s->active) return;
  const int high = digit_bins - 1 - 2 * int(threadIdx.x);
  const std::uint32_t first = bins[high], second = bins[high - 1], wanted = s->rank;
  std::uint32_t total = 0;
  const std::uint32_t above = block_scan(first + second, total);
  bins[high] = 0, bins[high - 1] = 0;
  __syncthreads();
  if (above < wanted && wanted <= above + first + second) {
    const bool upper = wanted <= above + first;
    s->threshold |= std::uint64_t(upper ? high : high - 1) << shift;
    s->rank = wanted - (upper ? above : above + first);
  }
}

// s->rank becomes that of the largest n magnitudes wanted; begin_selection or a kernel of the caller's has been there before.
template <class T>
void select(const engine::cuda_queue& queue, const T* values, std::size_t n, selection* s, std::uint32_t* bins) {
  int left = int(8 * sizeof(compress::detail::magnitude_bits<T>)) - 1;
  while (left > 0) {
    const int width = left < digit_bits ? left : digit_bits;
    left -= width;
    launch(queue, count_digits<T>, {grid_for(queue, n, 4096, 4), 512}, values, n, left, width, static_cast<const selection*>(s), bins);
    launch(queue, pick_digit<0>, {1, 1024}, left, s, bins);
  }
}

}  // namespace entrain::device
