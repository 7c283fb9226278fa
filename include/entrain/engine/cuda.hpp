// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <cuda_runtime_api.h>

#include <entrain/core/describe.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/engine/cuda/capability.hpp>
#include <entrain/engine/cuda/context.hpp>
#include <entrain/engine/cuda/event.hpp>
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
  static constexpr std::string_view name = "cuda";

  cuda_queue(std::shared_ptr<const cuda_context> context, bool tensor_float) : context_(std::move(context)), stream_(context_->compute()), tensor_float_(tensor_float) {}

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
  bool tensor_float_, float8_products_ = false;
};

struct cuda {
  using slot_type = slot::engine;
  using space = cuda_space;
  static constexpr std::string_view name = "cuda";

  int device = 0;             // of those that this process sees
  bool tensor_float = false;  // fp32 products with 10-bit fractions (TF32): several times faster, no longer fp32

  cuda_queue start() const { return {std::make_shared<const cuda_context>(device), tensor_float}; }

  std::string describe() const { return describe_members("cuda", "device", device, "tensor_float", tensor_float); }
  friend bool operator==(const cuda&, const cuda&) = default;
};

}  // namespace entrain::engine
