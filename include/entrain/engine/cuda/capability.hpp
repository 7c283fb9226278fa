// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include <entrain/core/error.hpp>
#include <entrain/engine/cuda/context.hpp>
#include <entrain/engine/cuda/error.hpp>

// What a device can do that not all can: refusals that name it.

namespace entrain::engine {

inline void require_float8_products(const cuda_context& context) {
  const int has = context.capability();
  if (has >= 89) return;
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, context.device()), "cudaGetDeviceProperties");
  throw usage_error("precision::fp8_mixed", "the device cannot multiply in 8 bits: pass precision::bf16_mixed", "compute capability 8.9 or more (Ada, Hopper and later)",
                    entrain::detail::text(has / 10, '.', has % 10, " (device ", context.device(), ", ", properties.name, ')'));
}

}  // namespace entrain::engine
