// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/device/launch.cuh>
#include <entrain/device/nn/product.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/engine/cuda.hpp>

// How the benchmarks of this folder measure. Times are CUDA events around launches; what is set against the bandwidth of a copy takes turns
// with that copy, so that both see the same clocks, and the copy leaves nothing of what came before in the second-level cache. Kernels too
// short for one launch to say anything are launched several times in a row, each time on other memory.

namespace bench {

using namespace entrain;

template <class T>
using device_memory = buffer<T, cuda_space>;

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n == 0 ? 0 : n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

inline void print_value(const std::string& name, double x) { std::printf("value %s %.4g\n", name.c_str(), x), std::fflush(stdout); }

// Two points of a stream and the time between them.
class stopwatch {
 public:
  stopwatch() {
    engine::cuda_check(cudaEventCreateWithFlags(&begin_, 0), "cudaEventCreateWithFlags");
    engine::cuda_check(cudaEventCreateWithFlags(&end_, 0), "cudaEventCreateWithFlags");
  }
  stopwatch(const stopwatch&) = delete;
  ~stopwatch() { (void)cudaEventDestroy(begin_), (void)cudaEventDestroy(end_); }

  void begin(cudaStream_t stream) { engine::cuda_check(cudaEventRecord(begin_, stream), "cudaEventRecord"); }
  void end(cudaStream_t stream) { engine::cuda_check(cudaEventRecord(end_, stream), "cudaEventRecord"); }
  double seconds() {  // waits
    float milliseconds = 0;
    engine::cuda_check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    engine::cuda_check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return double(milliseconds) * 1e-3;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// A thread has `Each` packs under way.
template <std::size_t Each>
__global__ void __launch_bounds__(512) copy_packs(const float* from, float* to, std::size_t packs) {
  constexpr std::size_t count = device::pack<float>::count;
  const std::size_t first = std::size_t(blockIdx.x) * blockDim.x * Each + threadIdx.x;
  device::pack<float> held[Each];
  ENTRAIN_UNROLL for (std::size_t j = 0; j < Each; ++j)
    if (first + j * blockDim.x < packs) held[j] = device::load_once(from + (first + j * blockDim.x) * count);
  ENTRAIN_UNROLL for (std::size_t j = 0; j < Each; ++j)
    if (first + j * blockDim.x < packs) device::store_once(to + (first + j * blockDim.x) * count, held[j]);
}

// About normal: the sum of four uniform numbers. Matrices of zeros draw less power, and so multiply faster, than any that occur.
template <class T>
__global__ void fill_random(random_stream random, T* to, std::size_t n, float deviation) {
  for (std::size_t i = device::thread_index(); i < n; i += device::thread_count()) {
    const philox_counter words = random.block(i);
    float sum = 0;
    for (int j = 0; j < 4; ++j) sum += float(words[std::size_t(j)] >> 8) * 0x1p-24f;
    to[i] = T((sum - 2) * 1.7320508f * deviation);
  }
}

struct timing {
  double seconds = 0, copy_bytes_a_second = 0;
  double share_of_copy(double bytes) const { return bytes / seconds / copy_bytes_a_second; }
};

// A card to measure on: its queue, and two vectors to copy.
class card {
 public:
  // Each of the vectors has copy_bytes.
  card(std::size_t copy_bytes, int rounds) : queue_(engine::cuda{}.start()), rounds_(rounds), from_(copy_bytes / sizeof(float)), to_(copy_bytes / sizeof(float)) {
    fill(from_.data(), from_.size());
    const double by_kernel = measured_copy(false), by_runtime = measured_copy(true);
    by_runtime_ = by_runtime > by_kernel;
    print_value("copy_kernel_gb_s", by_kernel * 1e-9);
    print_value("copy_runtime_gb_s", by_runtime * 1e-9);
  }

  const engine::cuda_queue& queue() const { return queue_; }
  int rounds() const { return rounds_; }

  template <class T>
  void fill(T* to, std::size_t n, double deviation = 1) {
    device::launch(queue_, fill_random<T>, {device::grid_for(queue_, n, 256), 256}, random_stream(7, purpose::user, fills_++), to, n, float(deviation));
  }
  template <class T>
  device_memory<T> random(std::size_t n, double deviation = 1) {
    device_memory<T> memory(n);
    fill(memory.data(), n, deviation);
    return memory;
  }

  // The median time of `launches` calls f(0), f(1), ... in a row, for one of them; in turns with a copy (by the faster of the two ways),
  // during which the host queues the launches: what they cost it does not count.
  template <class F>
  timing in_turns(int launches, F&& f) {
    std::vector<double> times, copies;
    for (int round = -3; round < rounds_; ++round) {
      queue_copy(by_runtime_);
      watch_.begin(queue_.stream());
      for (int i = 0; i < launches; ++i) f(i);
      watch_.end(queue_.stream());
      const double own = watch_.seconds() / launches, copying = copy_watch_.seconds();
      if (round >= 0) times.push_back(own), copies.push_back(copying);
    }
    return {median(times), copied_bytes() / median(copies)};
  }
  // Prints how near to copying comes what reads and writes these bytes.
  template <class F>
  timing report(const std::string& name, double bytes, int launches, F&& f) {
    const timing t = in_turns(launches, f);
    std::printf("%-36s %9.1f us, %.0f of %.0f GB/s\n", name.c_str(), t.seconds * 1e6, bytes / t.seconds * 1e-9, t.copy_bytes_a_second * 1e-9);
    print_value(name + "_share_of_copy", t.share_of_copy(bytes));
    return t;
  }
  template <class F>
  void report_flops(const std::string& name, double flops, F&& f) {
    const double s = in_turns(1, f).seconds;
    std::printf("%-36s %9.1f us\n", name.c_str(), s * 1e6);
    print_value(name + "_tflops", flops / s * 1e-12);
  }

 private:
  double copied_bytes() const { return 2.0 * double(from_.size() * sizeof(float)); }
  void queue_copy(bool by_runtime) {
    const std::size_t packs = from_.size() / device::pack<float>::count;
    copy_watch_.begin(queue_.stream());
    if (by_runtime) queue_.copy(static_cast<const float*>(from_.data()), to_.data(), from_.size());
    else device::launch(queue_, copy_packs<4>, {device::ceil_div(packs, 512 * 4), 512}, static_cast<const float*>(from_.data()), to_.data(), packs);
    copy_watch_.end(queue_.stream());
  }
  double measured_copy(bool by_runtime) {
    std::vector<double> times;
    for (int round = -3; round < rounds_; ++round) {
      queue_copy(by_runtime);
      const double s = copy_watch_.seconds();
      if (round >= 0) times.push_back(s);
    }
    return copied_bytes() / median(times);
  }

  engine::cuda_queue queue_;
  int rounds_;
  device_memory<float> from_, to_;
  stopwatch watch_, copy_watch_;
  bool by_runtime_ = false;
  std::uint32_t fills_ = 0;
};

// Flops a second of a product of two random square matrices.
template <class T>
double product_rate(card& c, const engine::cuda_queue& queue, std::size_t size) {
  const auto a = c.random<T>(size * size), b = c.random<T>(size * size);
  device_memory<T> out(size * size);
  queue.wait();
  c.queue().wait();
  std::vector<double> times;
  stopwatch watch;
  const nn::ops::gemm op{false, false, size, size, size, size, size, size, 1, 0};
  for (int round = -3; round < c.rounds(); ++round) {
    watch.begin(queue.stream());
    run(queue, op, static_cast<const T*>(a.data()), static_cast<const T*>(b.data()), out.data());
    watch.end(queue.stream());
    const double s = watch.seconds();
    if (round >= 0) times.push_back(s);
  }
  return 2.0 * double(size) * double(size) * double(size) / median(times);
}

}  // namespace bench
