// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <cuda_runtime_api.h>

#include <entrain/core/describe.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/engine/cuda/capability.hpp>
#include <entrain/engine/cuda/context.hpp>
#include <entrain/engine/cuda/event.hpp>
#include <entrain/engine/cuda/graph.hpp>
#include <entrain/engine/cuda/space.hpp>

// NVIDIA GPUs. Named as a policy, in a file that nvcc compiles and that includes the kernels:
//
//   #include <entrain/device/device.cuh>
//   trainer run{nn::gpt{...}, optim::adamw{}, engine::cuda{}, precision::bf16_mixed{}};
//
// All arithmetic of a rank runs on one device and one stream; parameters, gradients and activations live there. A step waits for
// the device once, to read its loss, when all its passes have been given to the stream.

namespace entrain::engine {

// What operations are given: a stream of a context. Cheap to copy; on() puts operations on another stream.
class cuda_queue {
 public:
  using space = cuda_space;
  using staging_space = pinned_space;  // host memory that copies reach without a detour
  using event = cuda_event;
  using graph = cuda_graph;
  static constexpr std::string_view name = "cuda";

  cuda_queue(std::shared_ptr<const cuda_context> context, bool tensor_float, bool captures = false)
      : context_(std::move(context)), stream_(context_->compute()), tensor_float_(tensor_float), captures_(captures) {}

  const cuda_context& context() const { return *context_; }
  cudaStream_t stream() const { return stream_; }
  bool tensor_float() const { return tensor_float_; }
  // Whether products that allow it round their factors to 8 bits (precision::fp8_mixed, device/nn/float8_product.cuh).
  bool float8_products() const { return float8_products_; }
  cuda_queue with_float8_products() const {
    require_float8_products(*context_);
    cuda_queue other = *this;
    other.float8_products_ = true;
    return other;
  }
  // Memory that an operation may spoil. There is one, so that only one stream has it: on others it is empty.
  view<std::byte, cuda_space> workspace() const { return stream_ == context_->compute() ? context_->workspace() : view<std::byte, cuda_space>(); }
  cuda_queue on(cudaStream_t stream) const {
    cuda_queue other = *this;
    other.stream_ = stream;
    return other;
  }
  // The queue of the exchange: what it is given runs beside the arithmetic.
  cuda_queue beside() const { return on(context_->exchange()); }
  void mark(cuda_event& here) const { here.record(stream_); }
  void await(const cuda_event& there) const { there.hold(stream_); }
  // While what it returns lives, operations with a loss return none and add it to the total that it gives.
  deferred_losses defer_losses() const { return {context_->losses(), stream_}; }
  // Passes as graphs (parallel/captured_passes.hpp): whether they are wanted, and what they are made and run by. capture() runs nothing; it
  // returns whether an argument was one that changes from step to step. Both throw cuda_error; what `work` throws passes through.
  bool captures() const { return captures_; }
  template <class Work>
  bool capture(cuda_graph& to, Work&& work) const {
    const capture_notes notes(*context_);
    to.capture(stream_, work);
    return context_->capture_changes();
  }
  void launch(const cuda_graph& what) const {
    what.launch(stream_);
    if (context_->losses().deferred()) context_->losses().mark(stream_);
  }
  // How often memory that operations keep in the context has moved: what was captured before is of no use then.
  std::uint64_t memory_moves() const { return context_->memory_moves(); }
  void wait() const { cuda_check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

  // Copies of `count` elements between any spaces, in the order of the stream. From or to pageable memory the call may wait.
  template <class T>
  void copy(const T* from, T* to, std::size_t count) const {
    if (count > 0 && from != to) cuda_check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  }
  template <class T>
  void zero(T* to, std::size_t count) const {
    if (count > 0) cuda_check(cudaMemsetAsync(to, 0, count * sizeof(T), stream_), "cudaMemsetAsync");
  }

 private:
  std::shared_ptr<const cuda_context> context_;
  cudaStream_t stream_;
  bool tensor_float_, captures_, float8_products_ = false;
};

struct cuda {
  using slot_type = slot::engine;
  using space = cuda_space;
  static constexpr std::string_view name = "cuda";

  int device = 0;             // of those that this process sees
  bool tensor_float = false;  // fp32 products with 10-bit fractions (TF32): several times faster, no longer fp32
  // A micro-batch's passes as one CUDA graph from the second of its shape on: for models whose kernels are shorter than their launch.
  // On several ranks the exchange then follows the backward pass instead of running beside it.
  bool graph = false;

  cuda_queue start() const { return {std::make_shared<const cuda_context>(device), tensor_float, graph}; }

  std::string describe() const { return describe_members("cuda", "device", device, "tensor_float", tensor_float, "graph", graph); }
  friend bool operator==(const cuda&, const cuda&) = default;
};

}  // namespace entrain::engine
