// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/dragonn.hpp>
#include <entrain/device/compress/collect.cuh>

// compress::dragonn on the device, with the host's sample, threshold, hash and wire: of the indices that meet in a slot the highest stays, by
// an atomic maximum, so the order of threads is no matter; then the slots that are not empty are collected. One read of the values (4 bytes),
// two of the slots (0.16 bytes a value each at a ratio of 1 %). 16 M floats: 17 us at 4.3 TB/s, and 13 launches.

namespace entrain::device {

template <class T>
__global__ void sample_anywhere(const T* values, std::uint64_t n, compress::detail::random_words random, std::size_t count, T* sample) {
  for (std::size_t j = thread_index(); j < count; j += thread_count()) sample[j] = values[std::size_t((random[std::uint32_t(j)] * n) >> 32)];
}

// slots: 0 is empty, else the index + 1.
template <class T>
__global__ void __launch_bounds__(256) fill_slots(const T* values, std::size_t n, const selection* s, compress::detail::random_words hash, std::uint64_t count, std::uint32_t* slots) {
  const std::uint64_t threshold = s->threshold < 1 ? 1 : s->threshold;
  for (std::size_t i = thread_index(); i < n; i += thread_count())
    if (compress::detail::magnitude(values[i]) >= threshold) atomicMax(&slots[(std::uint64_t(hash[std::uint32_t(i)]) * count) >> 32], std::uint32_t(i) + 1);
}

template <class T>
struct slot_source {
  using value_type = std::uint32_t;
  const std::uint32_t* slots;
  const T* values;
  __device__ std::uint32_t at(std::size_t j) const { return slots[j]; }
  __device__ bool above(std::uint32_t slot, const selection&) const { return slot != 0; }
  __device__ bool equal(std::uint32_t, const selection&) const { return false; }
  __device__ compress::sparse_entry<T> entry(std::size_t, std::uint32_t slot) const { return {slot - 1, values[slot - 1]}; }
};

template <class T>
struct dragonn_memory {
  selection* threshold;
  std::uint32_t *bins, *slots, *counts;
  T* sample;
  std::size_t bytes;

  dragonn_memory(std::byte* memory, std::size_t slot_count, std::size_t samples) {
    scratch_cutter cut(memory);
    threshold = cut.take<selection>(1), bins = cut.take<std::uint32_t>(digit_bins), slots = cut.take<std::uint32_t>(slot_count);
    counts = cut.take<std::uint32_t>(2 * tiles_of(slot_count)), sample = cut.take<T>(samples);
    bytes = cut.used();
  }
};

}  // namespace entrain::device

namespace entrain::compress {

template <class T>
std::size_t scratch_bytes(const dragonn& c, std::size_t n) {
  return device::dragonn_memory<T>(nullptr, c.slots(n), detail::sample_size(c.sample, c.ratio_of(n), n)).bytes;
}

// *found (device memory): how many entries the wire has.
template <class T>
void encode(const engine::cuda_queue& queue, const dragonn& c, const context& where, const device::compress_scratch& scratch, const T* values, std::size_t n, sparse_entry<T>* wire,
            std::uint32_t* found) {
  if (n == 0) return queue.zero(found, 1);
  const std::size_t slots = c.slots(n), samples = detail::sample_size(c.sample, c.ratio_of(n), n);
  const device::dragonn_memory<T> m(scratch.data(), slots, samples);
  queue.zero(m.slots, slots);
  device::launch(queue, device::sample_anywhere<T>, {device::grid_for(queue, samples, 256), 256}, values, n, detail::random_words(where, 1), samples, m.sample);
  device::launch(queue, device::begin_selection<0>, {1, 256}, m.threshold, std::uint32_t(detail::share_of(c.ratio_of(n), samples)), m.bins);
  device::select(queue, static_cast<const T*>(m.sample), samples, m.threshold, m.bins);
  device::launch(queue, device::fill_slots<T>, {device::grid_for(queue, n, 1024), 256}, values, n, m.threshold, detail::random_words(where, 0), slots, m.slots);
  device::collect(queue, device::slot_source<T>{m.slots, values}, slots, m.threshold, false, m.counts, wire, std::uint32_t(c.template wire_count<T>(n)), found);
}

template <class T>
void decode_add(const engine::cuda_queue& queue, const dragonn&, const context&, const sparse_entry<T>* wire, std::size_t entries, T* values, std::size_t, std::type_identity_t<T> scale) {
  device::add_entries(queue, wire, entries, values, scale);
}

}  // namespace entrain::compress
