// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/random_k.hpp>
#include <entrain/device/compress/arithmetic.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>

// compress::random_k and unbiased_random_k on the device: the host's indices, computed each by itself. Arc j begins j n / k (rounded down)
// behind the offset that all ranks share; that is what the host's carries add up to. k sectors of 32 bytes, whatever n is. No scratch.

namespace entrain::device {

struct random_arcs {
  compress::detail::random_words words;
  std::uint64_t n, k, whole, longer, start;

  random_arcs(const compress::context& where, std::size_t values, std::size_t kept) : n(values), k(kept), whole(n / k), longer(n % k) {
    constexpr std::uint32_t shared = 4095;  // as on the host: the last number of a rank's stream
    const random_stream stream(where.seed, purpose::compress, where.block * 4096 + shared, where.step);
    words = compress::detail::random_words(stream);
    start = stream.bits64(2) % n;
  }
  __device__ std::uint64_t index(std::uint64_t j) const {
    const std::uint64_t carried = j * longer / k, length = whole + ((j + 1) * longer / k - carried);
    std::uint64_t at = start + j * whole + carried;  // below 2 n
    at -= at >= n ? n : 0;
    at += (words[std::uint32_t(j)] * length) >> 32;
    return at < n ? at : at - n;
  }
};

template <class T>
__global__ void take_random(random_arcs arcs, const T* values, T* wire) {
  for (std::size_t j = thread_index(); j < arcs.k; j += thread_count()) wire[j] = values[arcs.index(j)];
}
template <class T>
__global__ void add_random(random_arcs arcs, const T* wire, T* values, T factor) {
  for (std::size_t j = thread_index(); j < arcs.k; j += thread_count()) {
    const std::size_t i = arcs.index(j);
    values[i] = multiply_then_add(factor, wire[j], values[i]);
  }
}

}  // namespace entrain::device

namespace entrain::compress {

template <bool Scaled, class T>
void encode(const engine::cuda_queue& queue, const basic_random_k<Scaled>& c, const context& where, const T* values, std::size_t n, T* wire) {
  const std::size_t k = n == 0 ? 0 : c.template wire_count<T>(n);
  if (k > 0) device::launch(queue, device::take_random<T>, {device::grid_for(queue, k, 256), 256}, device::random_arcs(where, n, k), values, wire);
}
template <bool Scaled, class T>
void decode_add(const engine::cuda_queue& queue, const basic_random_k<Scaled>& c, const context& where, const T* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  const std::size_t k = n == 0 ? 0 : c.template wire_count<T>(n);
  if (k == 0) return;
  const T factor = Scaled ? T(scale * T(double(n) / double(k))) : scale;
  device::launch(queue, device::add_random<T>, {device::grid_for(queue, k, 256), 256}, device::random_arcs(where, n, k), wire, values, factor);
}

}  // namespace entrain::compress
