// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "cuda_runtime_api.h"

// The calls of cuDNN that the library makes by itself (see cuda_runtime.h beside this); the rest goes through cudnn_frontend.h.

#define CUDNN_VERSION 91900

enum cudnnStatus_t { CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_NOT_INITIALIZED = 1001, CUDNN_STATUS_BAD_PARAM = 2000 };

namespace entrain::emulated {
struct cudnn_handle { cudaStream_t stream = nullptr; };
struct cudnn_state {
  std::atomic<long> handles = 0;                                     // alive
  std::atomic<long> built = 0, forward_runs = 0, backward_runs = 0;  // plans, executions
  std::atomic<long> more_workspace = 0;                              // bytes that a plan wants besides
  std::atomic<const char*> refusal = nullptr;                        // what check_support says
  std::atomic<int> build_failure = 0;                                // the code that build_plans returns
  std::atomic<bool> no_handle = false, no_execution = false;
};
inline cudnn_state& cudnn() {
  static cudnn_state all;
  return all;
}
}  // namespace entrain::emulated

using cudnnHandle_t = entrain::emulated::cudnn_handle*;

inline const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : status == CUDNN_STATUS_NOT_INITIALIZED ? "CUDNN_STATUS_NOT_INITIALIZED" : "CUDNN_STATUS_BAD_PARAM";
}
inline cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (entrain::emulated::cudnn().no_handle) return CUDNN_STATUS_NOT_INITIALIZED;
  ++entrain::emulated::cudnn().handles;
  *handle = new entrain::emulated::cudnn_handle;
  return CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  --entrain::emulated::cudnn().handles;
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (!handle) return CUDNN_STATUS_BAD_PARAM;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}
