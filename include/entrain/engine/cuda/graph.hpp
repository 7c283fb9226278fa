// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <cuda_runtime_api.h>

#include <entrain/engine/cuda/error.hpp>

// A CUDA graph: what a stream is given, kept by the driver, so that all of it is given again by one call. What it was given is fixed:
// pointers, sizes and numbers are those of the capture.
//
//   graph.capture(stream, [&] { ... });   // nothing runs; no allocation and no wait may happen in there
//   graph.launch(stream);
//
// A second capture() replaces what the graph does: in place where the driver can (the same operations with other arguments: a few us),
// else by a new one. CUDA 12 or newer. An exception in the function ends the capture and leaves the graph as it was.

namespace entrain::engine {

class cuda_graph {
 public:
  cuda_graph() = default;
  cuda_graph(cuda_graph&& other) noexcept : ready_(std::exchange(other.ready_, nullptr)) {}
  cuda_graph& operator=(cuda_graph&& other) noexcept {
    std::swap(ready_, other.ready_);
    return *this;
  }
  ~cuda_graph() { destroy(); }  // not before its last launch has come to its end

  bool empty() const { return ready_ == nullptr; }

  template <class Work>
  void capture(cudaStream_t stream, Work&& work) {
    // Other threads may allocate meanwhile: they belong to other ranks.
    cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    capturing under_way(stream);
    work();
    const captured what(under_way.end());
    if (!empty() && update(what.graph)) return;
    if (!empty()) cuda_check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");  // what is destroyed may be running
    destroy();
    cuda_check(cudaGraphInstantiate(&ready_, what.graph, 0), "cudaGraphInstantiate");
  }

  void launch(cudaStream_t stream) const { cuda_check(cudaGraphLaunch(ready_, stream), "cudaGraphLaunch"); }

 private:
  // Between begin and end of a capture; an exception in between leaves a stream that can be used.
  class capturing {
   public:
    explicit capturing(cudaStream_t stream) : stream_(stream) {}
    capturing(const capturing&) = delete;
    ~capturing() {
      cudaGraph_t dropped = nullptr;
      if (!stream_) return;
      (void)cudaStreamEndCapture(stream_, &dropped);
      if (dropped) (void)cudaGraphDestroy(dropped);
      (void)cudaGetLastError();
    }
    cudaGraph_t end() {
      cudaGraph_t graph = nullptr;
      cuda_check(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "cudaStreamEndCapture");
      return graph;
    }

   private:
    cudaStream_t stream_;
  };
  struct captured {
    cudaGraph_t graph;
    explicit captured(cudaGraph_t g) : graph(g) {}
    captured(const captured&) = delete;
    ~captured() { (void)cudaGraphDestroy(graph); }
  };

  // False where the driver refuses.
  bool update(cudaGraph_t graph) {
    cudaGraphExecUpdateResultInfo reason{};
    const cudaError_t status = cudaGraphExecUpdate(ready_, graph, &reason);
    if (status == cudaErrorGraphExecUpdateFailure) return (void)cudaGetLastError(), false;
    cuda_check(status, "cudaGraphExecUpdate");
    return true;
  }
  void destroy() {
    if (ready_) (void)cudaGraphExecDestroy(ready_);
    ready_ = nullptr;
  }

  cudaGraphExec_t ready_ = nullptr;
};

}  // namespace entrain::engine
