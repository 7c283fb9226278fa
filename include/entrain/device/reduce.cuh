// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

// Sums and maxima over a warp (32 threads) and over a block of whole warps; every thread gets the result. The order of
// additions is fixed, so results are the same in every run.

namespace entrain::device {

inline constexpr int warp_size = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

struct plus {
  template <class T>
  __device__ static T combine(T a, T b) { return a + b; }
};
struct larger {
  template <class T>
  __device__ static T combine(T a, T b) { return a > b ? a : b; }
};

template <class Op, class T>
__device__ inline T warp_reduce(T value) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2) value = Op::combine(value, T(__shfl_xor_sync(all_lanes, value, distance)));
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) { return warp_reduce<plus>(value); }
template <class T>
__device__ inline T warp_max(T value) { return warp_reduce<larger>(value); }

// identity: what threads without a value give. Safe to call again at once. blockDim.x is a multiple of 32.
template <class Op, class T>
__device__ inline T block_reduce(T value, T identity) {
  __shared__ T partial[warp_size];
  const int lane = int(threadIdx.x) % warp_size, warp = int(threadIdx.x) / warp_size, warps = int(blockDim.x) / warp_size;
  value = warp_reduce<Op>(value);
  if (warps == 1) return value;
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = warp_reduce<Op>(lane < warps ? partial[lane] : identity);
  __syncthreads();
  return value;
}
template <class T>
__device__ inline T block_sum(T value) { return block_reduce<plus>(value, T(0)); }

}  // namespace entrain::device
