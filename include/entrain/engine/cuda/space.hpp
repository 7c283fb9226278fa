// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

#include <cuda_runtime_api.h>

#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda/error.hpp>

// Memory of the current device, and host memory that it can read and write by itself (pinned). Both are taken at the start and
// kept: an allocation waits for the whole device.

namespace entrain {

struct cuda_space {
  static constexpr std::string_view name = "cuda";
  static constexpr bool host_accessible = false;
  static void* allocate_zeroed(std::size_t bytes) {
    void* pointer = nullptr;
    engine::cuda_check(cudaMalloc(&pointer, bytes), "cudaMalloc");
    engine::cuda_check(cudaMemset(pointer, 0, bytes), "cudaMemset");
    engine::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // our streams do not wait for the default one
    return pointer;
  }
  static void deallocate(void* pointer, std::size_t) noexcept { (void)cudaFree(pointer); }
};

struct pinned_space {
  static constexpr std::string_view name = "pinned";
  static constexpr bool host_accessible = true;
  static void* allocate_zeroed(std::size_t bytes) {
    void* pointer = nullptr;
    engine::cuda_check(cudaMallocHost(&pointer, bytes), "cudaMallocHost");
    auto* first = static_cast<unsigned char*>(pointer);
    for (std::size_t i = 0; i < bytes; ++i) first[i] = 0;
    return pointer;
  }
  static void deallocate(void* pointer, std::size_t) noexcept { (void)cudaFreeHost(pointer); }
};

}  // namespace entrain
