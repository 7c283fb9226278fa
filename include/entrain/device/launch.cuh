// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <cuda_runtime.h>

#include <entrain/engine/cuda.hpp>

// Starting kernels. Every launch is checked; a launch of no blocks is none.
//
//   device::launch(queue, kernel<T>, {blocks, threads, shared_bytes}, arguments...)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "entrain's kernels need compute capability 8.0 or more: set CMAKE_CUDA_ARCHITECTURES to 80;90 or to native, or pass -arch=native to nvcc"
#endif

namespace entrain::device {

struct shape {
  dim3 blocks, threads;
  std::size_t shared_bytes = 0;  // beyond 48 KiB the kernel must have been allowed that: allow_shared()
};

template <class... Formal, class... Actual>
void launch(const engine::cuda_queue& queue, void (*kernel)(Formal...), const shape& how, Actual... actual) {
  if (how.blocks.x == 0 || how.blocks.y == 0 || how.blocks.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = how.blocks, config.blockDim = how.threads, config.dynamicSmemBytes = how.shared_bytes, config.stream = queue.stream();
  engine::cuda_check(cudaLaunchKernelEx(&config, kernel, Formal(actual)...), "cudaLaunchKernelEx");
}

// More than 48 KiB of shared memory must be asked for, once a kernel and device.
template <class... Formal>
void allow_shared(void (*kernel)(Formal...), std::size_t bytes) {
  if (bytes > 48 * 1024)
    engine::cuda_check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), "cudaFuncSetAttribute");
}

constexpr unsigned ceil_div(std::size_t n, std::size_t d) { return unsigned((n + d - 1) / d); }

// Blocks for a grid-stride loop over `items`, `each` a block: enough to fill the device, no more than there is work.
inline unsigned grid_for(const engine::cuda_queue& queue, std::size_t items, std::size_t each, unsigned blocks_a_multiprocessor = 8) {
  return std::min<unsigned>(ceil_div(items, each), unsigned(queue.context().multiprocessors()) * blocks_a_multiprocessor);
}

// Shared memory whose size the launch says.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(128) unsigned char entrain_dynamic_shared[];
  return reinterpret_cast<T*>(entrain_dynamic_shared);
#else
  return reinterpret_cast<T*>(emulated::dynamic_shared());
#endif
}

}  // namespace entrain::device
