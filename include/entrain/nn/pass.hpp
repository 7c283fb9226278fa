// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// What a forward or backward pass must know beside its data. The same sample gets the same random numbers on any number
// of ranks, because they are keyed by its place in the whole step's batch and not by the rank that handles it.

namespace entrain::nn {

struct pass {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
  std::size_t first_sample = 0;  // index, within the step's global batch, of this pass's first sample
  bool training = true;          // dropout active, batch norm uses and records batch statistics
  bool accumulate = true;        // gradients are added to what is there; otherwise the first contribution overwrites
  float loss_scale = 1;          // of the gradient that the backward pass begins with, not of the loss (dynamic loss scaling)
  bool sent = false;             // the batch has been given to send() before: the forward pass does not send it again
  std::span<const std::uint8_t> idle = {};  // of each block, 1: its gradient is not wanted in this step and need not be computed; empty: all are
};

}  // namespace entrain::nn
