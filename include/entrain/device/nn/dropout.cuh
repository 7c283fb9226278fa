// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Dropout with the host's numbers: number i of the stream is word i mod 4 of Philox block i / 4, so a thread computes blocks and serves the
// elements that they belong to. Reads and writes n elements (32768 x 768 in bf16: 101 MB, 23 us at 4.3 TB/s) at about 25 integer
// operations an element, which cost about as much.

namespace entrain::device {

template <class T>
inline constexpr int dropout_group = pack<T>::count < 4 ? 4 : pack<T>::count;  // elements a thread: whole Philox blocks

// packed: pointers are aligned, and groups of numbers begin where groups of elements do.
template <class T>
__global__ void dropout_apply(nn::ops::dropout op, bool packed, const T* in, T* out) {
  using A = arithmetic<T>;
  constexpr int group = dropout_group<T>, count = pack<T>::count;
  const A scale = A(1) / (A(1) - A(op.probability));
  const std::size_t skip = std::size_t(op.first_index % 4), groups = (op.count + skip + group - 1) / group;
  const std::uint64_t first_block = op.first_index / 4;
  for (std::size_t g = thread_index(); g < groups; g += thread_count()) {
    bool kept[group];
    ENTRAIN_UNROLL for (int b = 0; b < group / 4; ++b) {
      const philox_counter words = op.random.block(first_block + g * (group / 4) + std::size_t(b));
      ENTRAIN_UNROLL for (int k = 0; k < 4; ++k) kept[4 * b + k] = float(words[std::size_t(k)] >> 8) * 0x1p-24f >= op.probability;
    }
    const std::size_t place = g * group;  // of number skip + element
    if (packed && place + group <= op.count) {
      ENTRAIN_UNROLL for (int p = 0; p < group; p += count) {
        pack<T> x = load(in + place + p);
        ENTRAIN_UNROLL for (int k = 0; k < count; ++k) x.set(k, kept[p + k] ? x[k] * scale : A(0));
        store(out + place + p, x);
      }
    } else {
      ENTRAIN_UNROLL for (int k = 0; k < group; ++k)
        if (place + k >= skip && place + k - skip < op.count) out[place + k - skip] = T(kept[k] ? A(in[place + k - skip]) * scale : A(0));
    }
  }
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void apply(const engine::cuda_queue& queue, const dropout& op, const T* in, T* out) {
  if (op.count == 0) return;
  const bool packed = device::aligned(in) && device::aligned(out) && op.first_index % 4 == 0;
  const std::size_t groups = op.count / device::dropout_group<T> + 2;
  queue.context().note_changing();  // the random stream is another one in every step
  device::launch(queue, device::dropout_apply<T>, {device::grid_for(queue, groups, 256), 256}, op, packed, in, out);
}

}  // namespace entrain::nn::ops
