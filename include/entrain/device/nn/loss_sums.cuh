// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <entrain/core/loss.hpp>
#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/workspace.cuh>

// Losses come back as one sum: every block leaves its own in the engine's workspace, and one block adds them in a fixed order; where
// losses are deferred (engine/cuda/losses.hpp), to the total of the passes before.

namespace entrain::device {

// How many blocks compute a loss: a number that no device changes, and so the order of additions is everywhere the same.
inline unsigned loss_blocks(std::size_t work) { return unsigned(std::min<std::size_t>(work, 2048)); }

struct block_loss { double sum, count, correct; };

// 24 bytes a block, 48 KB at most: about 3 us, which is the launch.
template <bool Adds>
__global__ void add_block_losses(const block_loss* losses, unsigned blocks, double* out) {
  block_loss mine{0, 0, 0};
  for (unsigned i = threadIdx.x; i < blocks; i += blockDim.x) mine.sum += losses[i].sum, mine.count += losses[i].count, mine.correct += losses[i].correct;
  mine = {block_sum(mine.sum), block_sum(mine.count), block_sum(mine.correct)};
  if (threadIdx.x != 0) return;
  if constexpr (Adds) mine.sum += out[0], mine.count += out[1], mine.correct += out[2];
  out[0] = mine.sum, out[1] = mine.count, out[2] = mine.correct;
}

inline block_loss* block_losses(const engine::cuda_queue& queue) { return reinterpret_cast<block_loss*>(workspace_for(queue, "a loss on the device", 2048 * sizeof(block_loss)).data()); }

// Waits for the device; where losses are deferred it does not, and returns none.
inline loss_sum read_loss(const engine::cuda_queue& queue, unsigned blocks) {
  if (auto& losses = queue.context().losses(); losses.deferred()) {
    launch(queue, add_block_losses<true>, {1, 256}, block_losses(queue), blocks, losses.totals());
    losses.fetch(queue.stream());
    if (!queue.context().capturing()) losses.mark(queue.stream());  // else when the graph is launched
    return {};
  }
  launch(queue, add_block_losses<false>, {1, 256}, block_losses(queue), blocks, queue.context().scalars());
  const double* sums = queue.context().read_scalars(queue.stream(), 3);
  return {sums[0], std::int64_t(sums[1]), std::int64_t(sums[2])};
}

}  // namespace entrain::device
