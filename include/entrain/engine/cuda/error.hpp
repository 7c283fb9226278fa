// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include <entrain/core/error.hpp>

// Every CUDA call's status is looked at, and a failure names the call, its place in the source and the device.

namespace entrain::engine {

class cuda_error : public error {
 public:
  using error::error;
};

// Where in the source; as a default argument, where the caller stands. (std::source_location is not in every C++20 library yet.)
struct source_place {
  const char* file = "";
  int line = 0;
  static constexpr source_place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

[[noreturn]] inline void throw_cuda_error(const char* call, const std::string& reason, source_place where) {
  int device = -1;
  if (cudaGetDevice(&device) != cudaSuccess) device = -1;
  throw cuda_error(entrain::detail::text(call, " at ", where.file, ":", where.line, ", CUDA device ", device), reason);
}

inline void cuda_check(cudaError_t status, const char* call, source_place where = source_place::here()) {
  if (status != cudaSuccess) throw_cuda_error(call, entrain::detail::text(cudaGetErrorName(status), ": ", cudaGetErrorString(status)), where);
}

}  // namespace entrain::engine
