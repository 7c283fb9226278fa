// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "graphs.hpp"

// The part of CUDA's runtime that the library calls, on ordinary memory (see cuda_runtime.h beside this). Device memory begins
// poisoned with NaNs, so that what is read before it is written shows.

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9, cudaErrorInvalidDevice = 101, cudaErrorNotReady = 600, cudaErrorStreamCaptureUnsupported = 900, cudaErrorStreamCaptureInvalidated = 901, cudaErrorGraphExecUpdateFailure = 910 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
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
struct event {
  std::shared_ptr<work> after;
  std::chrono::steady_clock::time_point recorded;
};
inline std::atomic<long> allocations = 0;  // of device and pinned memory, ever
inline std::atomic<long> launches = 0;     // of kernels by the host, ever
inline std::atomic<long> waits = 0;        // of the host for a stream or an event, ever
inline std::atomic<int> compute_capability = 90;
}  // namespace entrain::emulated

using cudaStream_t = entrain::emulated::stream*;
using cudaEvent_t = entrain::emulated::event*;
using cudaGraph_t = entrain::emulated::graph*;
using cudaGraphExec_t = entrain::emulated::graph*;
struct cudaGraphExecUpdateResultInfo { int result; };

inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaSuccess ? "cudaSuccess" : e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : e == cudaErrorStreamCaptureUnsupported ? "cudaErrorStreamCaptureUnsupported"
         : e == cudaErrorStreamCaptureInvalidated ? "cudaErrorStreamCaptureInvalidated" : "cudaError"; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) { *n = 1; return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) { *d = 0; return cudaSuccess; }
inline cudaError_t cudaSetDevice(int d) { return d == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceSynchronize() { return entrain::emulated::breaks_capture() ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
  const int capability = entrain::emulated::compute_capability;
  *value = what == cudaDevAttrMultiProcessorCount ? 2 : what == cudaDevAttrComputeCapabilityMajor ? capability / 10 : what == cudaDevAttrComputeCapabilityMinor ? capability % 10 : 227 * 1024;
  return cudaSuccess;
}
struct cudaDeviceProp { char name[256]; };
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* to, int) { std::strcpy(to->name, "emulated"); return cudaSuccess; }
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

inline cudaError_t cudaMalloc(void** p, std::size_t n) {
  if (entrain::emulated::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  ++entrain::emulated::allocations;
  *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
  if (!*p) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xff, n);
  entrain::emulated::memory_map::all().add(*p, n);
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t(1) << 30;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* p) {
  entrain::emulated::memory_map::all().remove(p);
  std::free(p);
  return entrain::emulated::breaks_capture() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** p, std::size_t n) { return cudaMalloc(p, n); }
inline cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
inline cudaError_t cudaMemset(void* p, int v, std::size_t n) {
  if (entrain::emulated::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  std::memset(p, v, n);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* p, int v, std::size_t n, cudaStream_t s) {
  entrain::emulated::submit(s, entrain::emulated::node_kind::zero, nullptr, [=] { return std::memset(p, v, n), true; });
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t n, cudaMemcpyKind) {
  if (entrain::emulated::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  std::memmove(to, from, n);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n, cudaMemcpyKind, cudaStream_t s) {
  auto& memory = entrain::emulated::memory_map::all();
  if (entrain::emulated::is_captured(s) && !(memory.has(to, n) && memory.has(from, n))) return s->broken = true, cudaErrorStreamCaptureUnsupported;
  entrain::emulated::submit(s, entrain::emulated::node_kind::copy, nullptr, [=] { return std::memmove(to, from, n), true; });
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { *s = new entrain::emulated::stream; return cudaSuccess; }
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned f, int) { return cudaStreamCreateWithFlags(s, f); }
inline cudaError_t cudaStreamDestroy(cudaStream_t s) { delete s; return cudaSuccess; }
inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* most) { *least = 0, *most = -5; return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (entrain::emulated::is_captured(s)) return s->broken = true, cudaErrorStreamCaptureUnsupported;
  ++entrain::emulated::waits;
  if (s && s->last) s->last->wait();
  return cudaSuccess;
}
inline cudaError_t cudaStreamQuery(cudaStream_t s) {
  if (entrain::emulated::is_captured(s)) return s->broken = true, cudaErrorStreamCaptureUnsupported;
  return s && s->last && !s->last->done() ? cudaErrorNotReady : cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { *e = new entrain::emulated::event; return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  if (entrain::emulated::is_captured(s)) return s->broken = true, cudaErrorStreamCaptureUnsupported;
  e->after = s ? s->last : nullptr, e->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->recorded - from->recorded).count();
  return cudaSuccess;
}
inline cudaError_t cudaEventQuery(cudaEvent_t e) { return e->after && !e->after->done() ? cudaErrorNotReady : cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  ++entrain::emulated::waits;
  if (e->after) e->after->wait();
  return cudaSuccess;
}
// What comes next on the stream is done at once, so this waits where it must.
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned = 0) {
  if (entrain::emulated::is_captured(s)) return s->broken = true, cudaErrorStreamCaptureUnsupported;
  if (e->after) e->after->wait();
  return cudaSuccess;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (!s || s->captured || entrain::emulated::captured_by_this_thread()) return cudaErrorInvalidValue;
  s->captured = std::make_unique<entrain::emulated::graph>(), s->broken = false;
  entrain::emulated::captured_by_this_thread() = s;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* to) {
  *to = nullptr;
  if (!s || !s->captured || entrain::emulated::captured_by_this_thread() != s) return cudaErrorInvalidValue;
  entrain::emulated::captured_by_this_thread() = nullptr;
  const auto made = std::exchange(s->captured, nullptr);
  if (s->broken) return cudaErrorStreamCaptureInvalidated;
  *to = new entrain::emulated::graph(*made);
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) { delete g; return cudaSuccess; }
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* to, cudaGraph_t from, unsigned long long = 0) {
  if (entrain::emulated::breaks_capture()) return cudaErrorStreamCaptureUnsupported;
  ++entrain::emulated::graphs_made;
  *to = new entrain::emulated::graph(*from);
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecUpdate(cudaGraphExec_t to, cudaGraph_t from, cudaGraphExecUpdateResultInfo*) {
  bool same = to->nodes.size() == from->nodes.size() && !entrain::emulated::refuse_updates;
  for (std::size_t i = 0; same && i < to->nodes.size(); ++i) same = to->nodes[i].kind == from->nodes[i].kind && to->nodes[i].what == from->nodes[i].what;
  if (!same) return cudaErrorGraphExecUpdateFailure;
  ++entrain::emulated::graphs_updated;
  to->nodes = from->nodes;
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t g, cudaStream_t s) {
  if (entrain::emulated::is_captured(s)) return cudaErrorStreamCaptureUnsupported;
  ++entrain::emulated::submissions, ++entrain::emulated::graphs_launched;
  for (const auto& node : g->nodes)
    if (!node.run()) return cudaErrorInvalidValue;
  return cudaSuccess;
}
