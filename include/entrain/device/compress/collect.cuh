// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <entrain/compress/concepts.hpp>
#include <entrain/device/compress/select.cuh>

// Entries that are wanted, in ascending order, without the host: tiles of 4096 are counted, one block adds the counts up, every tile writes
// its entries where they belong. A warp takes 512 neighbours of a tile and finds places by ballots. Of entries equal to the threshold the
// first `rank` are taken. Two reads of the source, of which the second may come from the second-level cache.
//
// A source says of its i-th element whether it lies above the threshold, is equal to it (or neither), and makes its entry.

namespace entrain::device {

inline constexpr std::size_t collect_tile = 4096, collect_run = 512;
inline constexpr int collect_steps = int(collect_run) / warp_size;
inline constexpr std::uint32_t all_equal = 0xffffffffu;

template <class T>
struct magnitude_source {
  using value_type = T;
  const T* values;
  __device__ T at(std::size_t i) const { return values[i]; }
  __device__ bool above(T x, const selection& s) const { return compress::detail::magnitude(x) > s.threshold; }
  __device__ bool equal(T x, const selection& s) const { return compress::detail::magnitude(x) == s.threshold; }
  __device__ compress::sparse_entry<T> entry(std::size_t i, T x) const { return {std::uint32_t(i), x}; }
};

// counts[2 tile], counts[2 tile + 1]: above and equal. Nothing is done where only_recount and the selection wants none.
template <class Source>
__global__ void __launch_bounds__(256) count_tiles(Source source, std::size_t n, const selection* which, bool only_recount, std::uint32_t* counts) {
  const selection s = *which;
  if (only_recount && !s.recount) return;
  std::uint32_t above = 0, equal = 0;
  for (std::size_t j = threadIdx.x; j < collect_tile; j += blockDim.x) {
    const std::size_t i = blockIdx.x * collect_tile + j;
    if (i >= n) break;
    const auto x = source.at(i);
    above += source.above(x, s), equal += source.equal(x, s);
  }
  above = block_sum(above), equal = block_sum(equal);
  if (threadIdx.x == 0) counts[2 * blockIdx.x] = above, counts[2 * blockIdx.x + 1] = equal;
}

// One block of 1024 threads: counts become sums of those before; *found is how many entries there are.
template <int>
__global__ void __launch_bounds__(1024) place_tiles(std::uint32_t* counts, std::size_t tiles, const selection* which, std::uint32_t room, std::uint32_t* found) {
  std::uint32_t above = 0, equal = 0;
  for (std::size_t first = 0; first < tiles; first += blockDim.x) {
    const std::size_t t = first + threadIdx.x;
    const bool mine = t < tiles;
    std::uint32_t total_above = 0, total_equal = 0;
    const std::uint32_t a = above + block_scan(mine ? counts[2 * t] : 0u, total_above), e = equal + block_scan(mine ? counts[2 * t + 1] : 0u, total_equal);
    if (mine) counts[2 * t] = a, counts[2 * t + 1] = e;
    above += total_above, equal += total_equal;
  }
  if (threadIdx.x == 0) {
    const std::uint32_t all = above + (equal < which->rank ? equal : which->rank);
    *found = all < room ? all : room;
  }
}

template <class Source, class Entry>
__global__ void __launch_bounds__(256) write_entries(Source source, std::size_t n, const selection* which, const std::uint32_t* places, Entry* wire, std::uint32_t room) {
  __shared__ std::uint32_t of_warp[2][collect_tile / collect_run];
  const selection s = *which;
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, before = (1u << lane) - 1;
  const std::size_t first = blockIdx.x * collect_tile + warp * collect_run + lane;
  typename Source::value_type x[collect_steps];
  std::uint32_t above = 0, equal = 0;
  for (int j = 0; j < collect_steps; ++j) {
    const std::size_t i = first + std::size_t(j) * 32;
    x[j] = i < n ? source.at(i) : typename Source::value_type(0);
    above += unsigned(__popc(__ballot_sync(all_lanes, i < n && source.above(x[j], s))));
    equal += unsigned(__popc(__ballot_sync(all_lanes, i < n && source.equal(x[j], s))));
  }
  if (lane == 0) of_warp[0][warp] = above, of_warp[1][warp] = equal;
  __syncthreads();
  above = places[2 * blockIdx.x], equal = places[2 * blockIdx.x + 1];
  for (unsigned w = 0; w < warp; ++w) above += of_warp[0][w], equal += of_warp[1][w];
  for (int j = 0; j < collect_steps; ++j) {
    const std::size_t i = first + std::size_t(j) * 32;
    const bool is_above = i < n && source.above(x[j], s), is_equal = i < n && source.equal(x[j], s);
    const unsigned a = __ballot_sync(all_lanes, is_above), e = __ballot_sync(all_lanes, is_equal);
    const std::uint32_t a_here = above + unsigned(__popc(a & before)), e_here = equal + unsigned(__popc(e & before));
    const std::uint32_t place = a_here + (e_here < s.rank ? e_here : s.rank);
    if ((is_above || (is_equal && e_here < s.rank)) && place < room) wire[place] = source.entry(i, x[j]);
    above += unsigned(__popc(a)), equal += unsigned(__popc(e));
  }
}

inline std::size_t tiles_of(std::size_t n) { return (n + collect_tile - 1) / collect_tile; }

// counts: two for each tile. `counted`: they are there already, but for a selection that wants them anew.
template <class Source, class Entry>
void collect(const engine::cuda_queue& queue, const Source& source, std::size_t n, const selection* s, bool counted, std::uint32_t* counts, Entry* wire, std::uint32_t room, std::uint32_t* found) {
  const unsigned tiles = unsigned(tiles_of(n));
  launch(queue, count_tiles<Source>, {tiles, 256}, source, n, s, counted, counts);
  launch(queue, place_tiles<0>, {1, 1024}, counts, std::size_t(tiles), s, room, found);
  launch(queue, write_entries<Source, Entry>, {tiles, 256}, source, n, s, static_cast<const std::uint32_t*>(counts), wire, room);
}

template <class T>
__global__ void add_sparse(const compress::sparse_entry<T>* wire, std::size_t count, T* values, T scale) {
  for (std::size_t i = thread_index(); i < count; i += thread_count()) {
    const compress::sparse_entry<T> e = wire[i];
    values[e.index] = multiply_then_add(scale, e.value, values[e.index]);
  }
}
// Indices are distinct: no atomics. 8 bytes and a sector of 32 each way an entry.
template <class T>
void add_entries(const engine::cuda_queue& queue, const compress::sparse_entry<T>* wire, std::size_t count, T* values, T scale) {
  launch(queue, add_sparse<T>, {grid_for(queue, count, 256), 256}, wire, count, values, scale);
}

}  // namespace entrain::device
