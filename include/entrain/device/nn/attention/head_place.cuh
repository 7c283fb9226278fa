// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_runtime.h>

#include <entrain/nn/ops.hpp>

namespace entrain::device::attention {

// Which tile of which head a block works on, and where that head's rows begin in the packed matrices. Blocks of a head follow each
// other, so that its keys and values stay in the second-level cache; there are batch * heads * tiles blocks in one dimension.
// Offsets are computed where they are used: kept in 64 bits, they would cost the matrix kernels registers that they lack.
struct head_place {
  unsigned tile, head, sample;

  __device__ head_place(const nn::ops::causal_attention& op, unsigned tiles)
      : tile(blockIdx.x % tiles), head(blockIdx.x / tiles % unsigned(op.heads)), sample(blockIdx.x / tiles / unsigned(op.heads)) {}

  // Of position 0 of the head.
  template <class T>
  __device__ T* in_qkv(const nn::ops::causal_attention& op, T* qkv) const { return qkv + sample * op.length * 3 * op.width() + head * op.head_width; }
  template <class T>
  __device__ T* in_out(const nn::ops::causal_attention& op, T* out) const { return out + sample * op.length * op.width() + head * op.head_width; }
  template <class T>
  __device__ T* in_rows(const nn::ops::causal_attention& op, T* rows) const { return rows + (sample * op.heads + head) * op.length; }
};

}  // namespace entrain::device::attention
