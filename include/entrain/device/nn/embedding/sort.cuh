// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>

// Rows in the order of their ids, rows of one id in their own order: a stable counting sort, 8 bits of the id a pass, each pass three
// kernels. Tiles of 1024 rows count their digits; a scan over (digit, tile) says where each begins; the tiles write. Linear in rows;
// 32768 rows by two digits: 6 launches that move 1.5 MB, so some 3 us each.

namespace entrain::device {

inline constexpr int sort_threads = 256, sort_warps = sort_threads / warp_size, sort_rounds = 4, sort_tile = sort_threads * sort_rounds, sort_digits = 256;

struct sort_pass {
  unsigned rows = 0, tiles = 0, shift = 0;
  const std::int32_t* keys = nullptr;
  const unsigned* values = nullptr;  // null: 0, 1, ...
  std::int32_t* keys_out = nullptr;
  unsigned *values_out = nullptr, *places = nullptr;  // places[digits, tiles]

  // Round `round` of this warp's part of its tile.
  __device__ unsigned place(int round) const {
    return blockIdx.x * sort_tile + threadIdx.x / warp_size * (warp_size * sort_rounds) + unsigned(round) * warp_size + threadIdx.x % warp_size;
  }
  __device__ unsigned digit(unsigned i) const { return (unsigned(keys[i]) >> shift) % sort_digits; }
};

template <class Pass>
__global__ void __launch_bounds__(sort_threads) sort_count(Pass pass) {
  __shared__ unsigned counts[sort_digits];
  counts[threadIdx.x] = 0;
  __syncthreads();
  for (int round = 0; round < sort_rounds; ++round)
    if (const unsigned i = pass.place(round); i < pass.rows) atomicAdd(&counts[pass.digit(i)], 1u);
  __syncthreads();
  pass.places[threadIdx.x * pass.tiles + blockIdx.x] = counts[threadIdx.x];
}

// One block: place[i] = sum of place[0 .. i).
template <class Count>
__global__ void __launch_bounds__(sort_threads) sort_scan(Count* places, unsigned n) {
  __shared__ Count of_warps[sort_warps];
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  Count before = 0;
  for (unsigned first = 0; first < n; first += sort_threads * 4) {
    Count mine[4], sum = 0;
    ENTRAIN_UNROLL for (unsigned k = 0; k < 4; ++k) {
      const unsigned i = first + threadIdx.x * 4 + k;
      mine[k] = i < n ? places[i] : Count(0);
      sum += mine[k];
    }
    Count through = sum;
    for (unsigned distance = 1; distance < unsigned(warp_size); distance *= 2) {
      const Count other = __shfl_up_sync(all_lanes, through, distance);
      if (lane >= distance) through += other;
    }
    if (lane == warp_size - 1) of_warps[warp] = through;
    __syncthreads();
    Count start = before + through - sum;
    for (unsigned w = 0; w < unsigned(sort_warps); ++w) {
      if (w < warp) start += of_warps[w];
      before += of_warps[w];
    }
    ENTRAIN_UNROLL for (unsigned k = 0; k < 4; ++k) {
      const unsigned i = first + threadIdx.x * 4 + k;
      if (i < n) places[i] = start;
      start += mine[k];
    }
    __syncthreads();
  }
}

template <class Pass>
__global__ void __launch_bounds__(sort_threads) sort_place(Pass pass) {
  __shared__ unsigned next[sort_warps][sort_digits];  // where each warp's next row of a digit goes
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  for (int w = 0; w < sort_warps; ++w) next[w][threadIdx.x] = 0;
  __syncthreads();
  for (int round = 0; round < sort_rounds; ++round)
    if (const unsigned i = pass.place(round); i < pass.rows) atomicAdd(&next[warp][pass.digit(i)], 1u);
  __syncthreads();
  unsigned start = pass.places[threadIdx.x * pass.tiles + blockIdx.x];
  for (int w = 0; w < sort_warps; ++w) {
    const unsigned rows_of_warp = next[w][threadIdx.x];
    next[w][threadIdx.x] = start, start += rows_of_warp;
  }
  __syncthreads();
  for (int round = 0; round < sort_rounds; ++round) {
    const unsigned i = pass.place(round);
    const bool inside = i < pass.rows;
    const unsigned digit = inside ? pass.digit(i) : 0;
    unsigned peers = __ballot_sync(all_lanes, inside);  // lanes with this lane's digit
    for (unsigned bit = 1; bit < unsigned(sort_digits); bit *= 2) {
      const unsigned with = __ballot_sync(all_lanes, (digit & bit) != 0);
      peers &= (digit & bit) != 0 ? with : ~with;
    }
    const unsigned rank = unsigned(__popc(peers & ((1u << lane) - 1))), to = next[warp][digit] + rank;
    __syncwarp();
    if (inside && rank == 0) next[warp][digit] += unsigned(__popc(peers));
    __syncwarp();
    if (inside) pass.keys_out[to] = pass.keys[i], pass.values_out[to] = pass.values ? pass.values[i] : i;
  }
}

struct sorted_rows {
  const std::int32_t* ids;
  const unsigned* rows;
};

// memory: 16 bytes a row and 1 KiB a tile: 17 bytes a row of whole tiles.
inline sorted_rows sort_rows_by_id(const engine::cuda_queue& queue, const std::int32_t* ids, std::size_t rows, std::size_t vocabulary, std::byte* memory) {
  auto* words = reinterpret_cast<unsigned*>(memory);
  sort_pass pass{unsigned(rows), ceil_div(rows, sort_tile), 0, ids, nullptr, nullptr, nullptr, words + 4 * rows};
  const int bits = std::bit_width(vocabulary > 1 ? vocabulary - 1 : 1);
  for (int side = 0; int(pass.shift) < bits; pass.shift += 8, side = 1 - side) {
    pass.keys_out = reinterpret_cast<std::int32_t*>(words + std::size_t(2 * side) * rows), pass.values_out = words + std::size_t(2 * side + 1) * rows;
    launch(queue, sort_count<sort_pass>, {pass.tiles, sort_threads}, pass);
    launch(queue, sort_scan<unsigned>, {1, sort_threads}, pass.places, pass.tiles * sort_digits);
    launch(queue, sort_place<sort_pass>, {pass.tiles, sort_threads}, pass);
    pass.keys = pass.keys_out, pass.values = pass.values_out;
  }
  return {pass.keys, pass.values};
}

}  // namespace entrain::device
