// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda/error.hpp>
#include <entrain/engine/cuda/losses.hpp>
#include <entrain/engine/cuda/product.hpp>
#include <entrain/engine/cuda/space.hpp>

// What one rank holds of one device: a stream for arithmetic and one for the exchange, cuBLASLt's handle and workspace, and a few
// numbers in pinned memory through which results come back. Made by engine::cuda::start(); belongs to the thread that made it.

namespace entrain::engine {

class cuda_context {
 public:
  static constexpr std::size_t workspace_bytes = std::size_t(32) << 20;  // what cuBLASLt asks for on Hopper
  static constexpr std::size_t scalar_count = 64;

  explicit cuda_context(int device) : device_(device) {
    int devices = 0;
    cuda_check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
    if (device < 0 || device >= devices)
      throw usage_error("engine::cuda", "no such device", entrain::detail::text("0 to ", devices - 1), entrain::detail::text(device));
    cuda_check(cudaSetDevice(device), "cudaSetDevice");
    cuda_check(cudaStreamCreateWithFlags(&compute_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    cuda_check(cudaStreamCreateWithFlags(&exchange_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    blas_check(cublasLtCreate(&blas_), "cublasLtCreate");
    cuda_check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    int major = 0, minor = 0;
    cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
    cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
    capability_ = 10 * major + minor;
    workspace_ = buffer<std::byte, cuda_space>(workspace_bytes);
    on_device_ = buffer<double, cuda_space>(scalar_count);
    on_host_ = buffer<double, pinned_space>(scalar_count);
    losses_.emplace();
  }
  cuda_context(const cuda_context&) = delete;
  ~cuda_context() {
    (void)cudaStreamSynchronize(compute_);
    (void)cudaStreamSynchronize(exchange_);
    while (!kept_.empty()) kept_.pop_back();
    (void)cublasLtDestroy(blas_);
    (void)cudaStreamDestroy(exchange_);
    (void)cudaStreamDestroy(compute_);
  }

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  int capability() const { return capability_; }  // 80 of A100, 90 of H100 and H200
  cudaStream_t compute() const { return compute_; }
  cudaStream_t exchange() const { return exchange_; }
  cublasLtHandle_t blas() const { return blas_; }
  view<std::byte, cuda_space> workspace() const { return workspace_; }  // for work on compute() alone
  blas_plan& plan(const product_shape& shape, const product_pointers& with = {}) const {
    return plans_.of(blas_, shape, shape.with_workspace ? workspace_bytes : 0, with);
  }
  std::size_t plan_count() const { return plans_.size(); }

  // What operations keep between calls (another library's handle, its plans): made from this context at the first request for its
  // type, destroyed before the streams, the last made first.
  template <class Kept>
  Kept& keep() const {
    for (const auto& [type, object] : kept_)
      if (type == typeid(Kept)) return *static_cast<Kept*>(object.get());
    auto made = std::make_shared<Kept>(*this);
    return kept_.emplace_back(typeid(Kept), made), *made;
  }

  // Numbers that kernels leave for the host. read_scalars() waits for all that the stream has been given.
  double* scalars() const { return on_device_.data(); }
  const double* read_scalars(cudaStream_t stream, std::size_t count) const {
    cuda_check(cudaMemcpyAsync(on_host_.data(), on_device_.data(), count * sizeof(double), cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
    cuda_check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return on_host_.data();
  }

  cuda_losses& losses() const { return *losses_; }

  // While the compute stream is captured (engine/cuda/graph.hpp): whoever launches with a number that is another one in every step says
  // so, and the graph is captured again in each.
  bool capturing() const { return capturing_; }
  void note_changing() const { changes_ = true; }
  bool capture_changes() const { return changes_; }
  // Said by operations whose kept memory (keep()) has been replaced by larger: graphs that know the old one are not launched any more.
  void note_moved() const { ++moves_; }
  std::uint64_t memory_moves() const { return moves_; }

 private:
  friend class capture_notes;
  int device_, multiprocessors_ = 0, capability_ = 0;
  cudaStream_t compute_ = nullptr, exchange_ = nullptr;
  cublasLtHandle_t blas_ = nullptr;
  mutable blas_plans plans_;
  mutable std::vector<std::pair<std::type_index, std::shared_ptr<void>>> kept_;
  buffer<std::byte, cuda_space> workspace_;
  buffer<double, cuda_space> on_device_;
  buffer<double, pinned_space> on_host_;
  mutable std::optional<cuda_losses> losses_;  // made when the device has been chosen
  mutable bool capturing_ = false, changes_ = false;
  mutable std::uint64_t moves_ = 0;
};

// The context knows of a capture while this lives.
class capture_notes {
 public:
  explicit capture_notes(const cuda_context& context) : context_(context) { context_.capturing_ = true, context_.changes_ = false; }
  capture_notes(const capture_notes&) = delete;
  ~capture_notes() { context_.capturing_ = false; }

 private:
  const cuda_context& context_;
};

}  // namespace entrain::engine
