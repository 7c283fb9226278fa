// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda/error.hpp>
#include <entrain/engine/cuda/event.hpp>
#include <entrain/engine/cuda/space.hpp>

// Losses that the host asks for later. While they are deferred, operations add theirs to a total in device memory and return an empty
// loss_sum, so that the host goes on to the backward pass while the device computes; the total comes back once for all passes of a step.
//
//   deferred_losses losses = queue.defer_losses();
//   ... passes ...
//   const loss_sum all = losses.total();  // waits for the last loss, not for what the stream was given after it
//
// Totals are in double, added in the order of the passes: the bits of a sum on the host.

namespace entrain::engine {

class cuda_losses {
 public:
  cuda_losses() : on_device_(3), on_host_(3) {}

  bool deferred() const { return deferred_; }
  double* totals() const { return on_device_.data(); }  // sum, count, correct, in device memory

  void defer(cudaStream_t stream) {
    cuda_check(cudaMemsetAsync(on_device_.data(), 0, 3 * sizeof(double), stream), "cudaMemsetAsync");
    deferred_ = true, on_its_way_ = false;
  }
  void end() { deferred_ = false; }

  // After a kernel that added to the totals: they are sent to the host.
  void fetch(cudaStream_t stream) const { cuda_check(cudaMemcpyAsync(on_host_.data(), on_device_.data(), 3 * sizeof(double), cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync"); }
  // The host may wait for what has been fetched so far.
  void mark(cudaStream_t stream) {
    arrived_.record(stream);
    on_its_way_ = true;
  }
  loss_sum wait() const {
    if (!on_its_way_) return {};  // no operation had a loss
    arrived_.wait();
    return {on_host_[0], std::int64_t(on_host_[1]), std::int64_t(on_host_[2])};
  }

 private:
  buffer<double, cuda_space> on_device_;
  buffer<double, pinned_space> on_host_;
  cuda_event arrived_;
  bool deferred_ = false, on_its_way_ = false;
};

// Losses are deferred while it lives. Not nested.
class deferred_losses {
 public:
  deferred_losses(cuda_losses& of, cudaStream_t stream) : of_(of) { of_.defer(stream); }
  deferred_losses(const deferred_losses&) = delete;
  ~deferred_losses() { of_.end(); }
  loss_sum total() const { return of_.wait(); }

 private:
  cuda_losses& of_;
};

}  // namespace entrain::engine
