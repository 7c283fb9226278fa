// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

// The part of CUDA's runtime that the library calls, on ordinary memory (see cuda_runtime.h beside this). Device memory begins
// poisoned with NaNs, so that what is read before it is written shows.

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9, cudaErrorInvalidDevice = 101, cudaErrorNotReady = 600 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };

namespace entrain::emulated {
// Everything is done when the call returns, but what other ranks take part in (nccl.h beside this): a stream's last such work, which
// events remember.
struct work {
  virtual ~work() = default;
  virtual bool done() = 0;
  void wait() {
    while (!done()) std::this_thread::yield();
  }
};
struct stream { std::shared_ptr<work> last; };
struct event {
  std::shared_ptr<work> after;
  std::chrono::steady_clock::time_point recorded;
};
inline std::atomic<long> allocations = 0;  // of device and pinned memory, ever
inline std::atomic<long> launches = 0;     // of kernels by the host, ever
inline std::atomic<int> compute_capability = 90;
}  // namespace entrain::emulated

using cudaStream_t = entrain::emulated::stream*;
using cudaEvent_t = entrain::emulated::event*;

inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaSuccess ? "cudaSuccess" : e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError"; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) { *n = 1; return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) { *d = 0; return cudaSuccess; }
inline cudaError_t cudaSetDevice(int d) { return d == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
  const int capability = entrain::emulated::compute_capability;
  *value = what == cudaDevAttrMultiProcessorCount ? 2 : what == cudaDevAttrComputeCapabilityMajor ? capability / 10 : what == cudaDevAttrComputeCapabilityMinor ? capability % 10 : 227 * 1024;
  return cudaSuccess;
}
struct cudaDeviceProp { char name[256]; };
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* to, int) { std::strcpy(to->name, "emulated"); return cudaSuccess; }
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

inline cudaError_t cudaMalloc(void** p, std::size_t n) {
  ++entrain::emulated::allocations;
  *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
  if (!*p) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xff, n);
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t(1) << 30;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* p) { std::free(p); return cudaSuccess; }
inline cudaError_t cudaMallocHost(void** p, std::size_t n) { return cudaMalloc(p, n); }
inline cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
inline cudaError_t cudaMemset(void* p, int v, std::size_t n) { std::memset(p, v, n); return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* p, int v, std::size_t n, cudaStream_t) { return cudaMemset(p, v, n); }
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t n, cudaMemcpyKind) { std::memmove(to, from, n); return cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n, cudaMemcpyKind k, cudaStream_t) { return cudaMemcpy(to, from, n, k); }

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { *s = new entrain::emulated::stream; return cudaSuccess; }
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned f, int) { return cudaStreamCreateWithFlags(s, f); }
inline cudaError_t cudaStreamDestroy(cudaStream_t s) { delete s; return cudaSuccess; }
inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* most) { *least = 0, *most = -5; return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t s) { if (s && s->last) s->last->wait(); return cudaSuccess; }
inline cudaError_t cudaStreamQuery(cudaStream_t s) { return s && s->last && !s->last->done() ? cudaErrorNotReady : cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { *e = new entrain::emulated::event; return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  e->after = s ? s->last : nullptr, e->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->recorded - from->recorded).count();
  return cudaSuccess;
}
inline cudaError_t cudaEventQuery(cudaEvent_t e) { return e->after && !e->after->done() ? cudaErrorNotReady : cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t e) { if (e->after) e->after->wait(); return cudaSuccess; }
// What comes next on the stream is done at once, so this waits where it must.
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, unsigned = 0) { return cudaEventSynchronize(e); }
