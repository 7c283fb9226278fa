// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/device/compress/collect.cuh>

// compress::top_k and compress::sampled_top_k on the device: the host's entries in the host's order, nothing decided on the host. Reads of n
// values: top_k five (three passes of selection, two of collection), sampled_top_k two; where its sample missed by far, three to six.
// 16 M floats: 78 and 31 us at 4.3 TB/s, and some 10 or 20 launches. *found (device memory) is how many entries the wire has.
//
// All lowered thresholds of sampled_top_k are counted in the first pass, so that which of them holds is known without another.

namespace entrain::device {

inline constexpr int threshold_levels = 12;  // the sample's, ten times lowered, none

template <class T>
__device__ inline compress::detail::magnitude_bits<T> lowered(compress::detail::magnitude_bits<T> t, int level) {
  using bits = compress::detail::magnitude_bits<T>;
  if (level == 0) return t < 1 ? bits(1) : t;
  if (level == threshold_levels - 1) return bits(1);
  return compress::detail::threshold_bits(T(std::bit_cast<T>(t) * T(0.8)));
}

template <class T>
__global__ void take_sample(const T* from, std::size_t stride, std::size_t count, T* sample) {
  for (std::size_t j = thread_index(); j < count; j += thread_count()) sample[j] = from[j * stride];
}

// How many reach each level, and for the first how many of each tile. A block a tile.
template <class T>
__global__ void __launch_bounds__(256) count_levels(const T* values, std::size_t n, const selection* of_sample, std::uint32_t* totals, std::uint32_t* counts) {
  using bits = compress::detail::magnitude_bits<T>;
  bits t[threshold_levels];
  std::uint32_t reach[threshold_levels];
  for (int l = 0; l < threshold_levels; ++l) t[l] = lowered<T>(l == 0 ? bits(of_sample->threshold) : t[l - 1], l), reach[l] = 0;
  for (std::size_t j = threadIdx.x; j < collect_tile; j += blockDim.x) {
    const std::size_t i = blockIdx.x * collect_tile + j;
    if (i >= n) break;
    const bits m = compress::detail::magnitude(values[i]);
    for (int l = 0; l < threshold_levels; ++l) reach[l] += m >= t[l];
  }
  for (int l = 0; l < threshold_levels; ++l) {
    const std::uint32_t all = block_sum(reach[l]);
    if (threadIdx.x != 0) continue;
    if (all != 0) atomicAdd(&totals[l], all);
    if (l == 0) counts[2 * blockIdx.x] = all, counts[2 * blockIdx.x + 1] = 0;
  }
}

// Which level holds; too many entries: the k largest are selected.
template <class T>
__global__ void choose_level(const selection* of_sample, const std::uint32_t* totals, std::uint32_t least, std::uint32_t room, std::uint32_t k, selection* s) {
  using bits = compress::detail::magnitude_bits<T>;
  bits t = lowered<T>(bits(of_sample->threshold), 0);
  int level = 0;
  while (totals[level] < least && t > 1) ++level, t = lowered<T>(t, level);
  if (totals[level] <= room) *s = {t, all_equal, 0, level != 0 ? 1u : 0u, 0};
  else *s = {0, k, 1, 1, 0};
}

template <class T>
__global__ void write_all(const T* values, std::size_t n, compress::sparse_entry<T>* wire, std::uint32_t* found) {
  for (std::size_t i = thread_index(); i < n; i += thread_count()) wire[i] = {std::uint32_t(i), values[i]};
  if (thread_index() == 0) *found = std::uint32_t(n);
}

template <class T>
struct top_k_memory {
  selection *of_sample, *of_all;
  std::uint32_t *bins, *totals, *counts;
  T* sample;
  std::size_t bytes;

  top_k_memory(std::byte* memory, std::size_t n, std::size_t samples) {
    scratch_cutter cut(memory);
    of_sample = cut.take<selection>(2), of_all = of_sample ? of_sample + 1 : nullptr;
    bins = cut.take<std::uint32_t>(digit_bins), totals = cut.take<std::uint32_t>(threshold_levels), counts = cut.take<std::uint32_t>(2 * tiles_of(n));
    sample = cut.take<T>(samples);
    bytes = cut.used();
  }
};

}  // namespace entrain::device

namespace entrain::compress {

template <class T>
std::size_t scratch_bytes(const top_k&, std::size_t n) { return device::top_k_memory<T>(nullptr, n, 0).bytes; }
template <class T>
std::size_t scratch_bytes(const sampled_top_k& c, std::size_t n) { return device::top_k_memory<T>(nullptr, n, detail::sample_size(c.sample, c.ratio, n)).bytes; }

template <class T>
void encode(const engine::cuda_queue& queue, const top_k& c, const context&, const device::compress_scratch& scratch, const T* values, std::size_t n, sparse_entry<T>* wire, std::uint32_t* found) {
  if (n == 0) return queue.zero(found, 1);
  const device::top_k_memory<T> m(scratch.data(), n, 0);
  const std::uint32_t k = std::uint32_t(detail::share_of(c.ratio, n));
  device::launch(queue, device::begin_selection<0>, {1, 256}, m.of_all, k, m.bins);
  device::select(queue, values, n, m.of_all, m.bins);
  device::collect(queue, device::magnitude_source<T>{values}, n, m.of_all, false, m.counts, wire, k, found);
}

template <class T>
void encode(const engine::cuda_queue& queue, const sampled_top_k& c, const context& where, const device::compress_scratch& scratch, const T* values, std::size_t n, sparse_entry<T>* wire,
            std::uint32_t* found) {
  if (n == 0) return queue.zero(found, 1);
  const std::size_t k = detail::share_of(c.ratio, n), samples = detail::sample_size(c.sample, c.ratio, n), room = c.template wire_count<T>(n);
  if (k == n) return device::launch(queue, device::write_all<T>, {device::grid_for(queue, n, 256), 256}, values, n, wire, found);
  const device::top_k_memory<T> m(scratch.data(), n, samples);
  const detail::random_words random(where);
  const std::size_t stride = n / samples, slack = n - stride * samples, start = std::size_t((std::uint64_t(random[0]) * (stride + slack)) >> 32);
  const auto least = std::uint32_t(std::ceil(0.8 * double(k)));
  queue.zero(m.totals, device::threshold_levels);
  device::launch(queue, device::take_sample<T>, {device::grid_for(queue, samples, 256), 256}, values + start, stride, samples, m.sample);
  device::launch(queue, device::begin_selection<0>, {1, 256}, m.of_sample, std::uint32_t(detail::share_of(c.ratio, samples)), m.bins);
  device::select(queue, static_cast<const T*>(m.sample), samples, m.of_sample, m.bins);
  device::launch(queue, device::count_levels<T>, {unsigned(device::tiles_of(n)), 256}, values, n, m.of_sample, m.totals, m.counts);
  device::launch(queue, device::choose_level<T>, {1, 1}, m.of_sample, m.totals, least, std::uint32_t(room), std::uint32_t(k), m.of_all);
  device::select(queue, values, n, m.of_all, m.bins);
  device::collect(queue, device::magnitude_source<T>{values}, n, m.of_all, true, m.counts, wire, std::uint32_t(room), found);
}

template <class T>
void decode_add(const engine::cuda_queue& queue, const top_k&, const context&, const sparse_entry<T>* wire, std::size_t entries, T* values, std::size_t, std::type_identity_t<T> scale) {
  device::add_entries(queue, wire, entries, values, scale);
}
template <class T>
void decode_add(const engine::cuda_queue& queue, const sampled_top_k&, const context&, const sparse_entry<T>* wire, std::size_t entries, T* values, std::size_t, std::type_identity_t<T> scale) {
  device::add_entries(queue, wire, entries, values, scale);
}

}  // namespace entrain::compress
