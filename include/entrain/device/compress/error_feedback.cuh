// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <entrain/compress/error_feedback.hpp>
#include <entrain/device/compress/arithmetic.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/optim/quad.cuh>
#include <entrain/device/vector.cuh>

// compress::error_feedback on the device, with the host's arithmetic: residual = gradient + factor * residual is what is encoded, and then
// what the encoding says is taken out of it. Bytes a value: 12 in fp32 (gradient and residual read, residual written), 10 where the
// gradient has 16 bits. 16 M values: 47 us at 4.3 TB/s; taking out is the compressor's decode_add, of sparse ones 8 bytes and a sector of
// 32 each way an entry.

namespace entrain::device {

template <class T, class Kept>
__global__ void __launch_bounds__(256) correct_gradient(const T* gradient, Kept* residual, std::size_t n, Kept factor, bool wide) {
  for (std::size_t i = 4 * thread_index(); i < n; i += 4 * thread_count()) {
    const int here = n - i < 4 ? int(n - i) : 4;
    const quad<T> g = load_quad(gradient + i, here, wide);
    quad<Kept> e = load_quad(residual + i, here, wide);
    for (int j = 0; j < 4; ++j) e.value[j] = multiply_then_add(factor, e.value[j], Kept(arithmetic<T>(g.value[j])));
    store_quad(residual + i, e, here, wide);
  }
}

template <class Entry, class Kept>
__global__ void remove_sent(const Entry* wire, const std::uint32_t* found, std::size_t room, Kept* residual) {
  const std::size_t count = *found < room ? *found : room;
  for (std::size_t i = thread_index(); i < count; i += thread_count()) {
    const Entry e = wire[i];
    residual[e.index] = multiply_then_add(Kept(-1), e.value, residual[e.index]);
  }
}

}  // namespace entrain::device

// What parallel/encoded_exchange.hpp asks of its engine, under the names that it looks for.
namespace entrain::engine {

inline device::compress_scratch make_scratch(const cuda_queue&, std::size_t bytes) { return device::compress_scratch(bytes); }

template <class T, class Kept>
void add_residual(const cuda_queue& queue, const T* gradient, Kept* residual, std::size_t n, Kept factor) {
  device::launch(queue, device::correct_gradient<T, Kept>, {device::grid_for(queue, n, 1024), 256}, gradient, residual, n, factor, device::aligned(gradient) && device::aligned(residual));
}

// *found (device memory) entries, at most `room`.
template <class Kept>
void remove_entries(const cuda_queue& queue, const compress::sparse_entry<Kept>* wire, const std::uint32_t* found, std::size_t room, Kept* residual) {
  device::launch(queue, device::remove_sent<compress::sparse_entry<Kept>, Kept>, {device::grid_for(queue, room, 256), 256}, wire, found, room, residual);
}

}  // namespace entrain::engine
