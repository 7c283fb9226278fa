// SPDX-License-Identifier: Apache-2.0
#pragma once

// Selections as one writes them with CUB, which comes with the CUDA toolkit: the peers of this library's own (docs/decisions/0012). Nothing
// where the compiler is not nvcc.

#if defined(__CUDACC__)

#include <cstddef>
#include <cstdint>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_select.cuh>
#include <thrust/iterator/counting_iterator.h>

#include "measure.cuh"

namespace bench {

struct magnitude_of {
  const float* values;
  __host__ __device__ float operator()(std::uint32_t i) const { return values[i] < 0 ? -values[i] : values[i]; }
};
struct is_above {
  const float* values;
  float threshold;
  __host__ __device__ bool operator()(std::uint32_t i) const { return (values[i] < 0 ? -values[i] : values[i]) > threshold; }
};

template <int>
__global__ void write_keys(const float* values, std::size_t n, float* keys, std::uint32_t* places) {
  for (std::size_t i = device::thread_index(); i < n; i += device::thread_count()) keys[i] = magnitude_of{values}(std::uint32_t(i)), places[i] = std::uint32_t(i);
}

class cub_selections {
 public:
  cub_selections(card& c, std::size_t n) : card_(c), n_(n), keys_(n), sorted_(n), places_(n), sorted_places_(n), found_(1) {
    std::size_t sorting = 0, selecting = 0;
    check(sort(nullptr, sorting), "cub::DeviceRadixSort::SortPairsDescending");
    check(select(nullptr, selecting, nullptr, 0), "cub::DeviceSelect::If");
    memory_ = device_memory<std::byte>(sorting > selecting ? sorting : selecting);
  }

  // The largest magnitudes with their places, by sorting all.
  void top_k(const float* values) {
    device::launch(card_.queue(), write_keys<0>, {device::grid_for(card_.queue(), n_, 256), 256}, values, n_, keys_.data(), places_.data());
    std::size_t bytes = memory_.size();
    check(sort(memory_.data(), bytes), "cub::DeviceRadixSort::SortPairsDescending");
  }
  // The places of those above a threshold that is known already.
  void above(const float* values, float threshold) {
    std::size_t bytes = memory_.size();
    check(select(memory_.data(), bytes, values, threshold), "cub::DeviceSelect::If");
  }

 private:
  static void check(cudaError_t status, const char* call) { engine::cuda_check(status, call); }
  cudaError_t sort(void* memory, std::size_t& bytes) {
    return cub::DeviceRadixSort::SortPairsDescending(memory, bytes, keys_.data(), sorted_.data(), places_.data(), sorted_places_.data(), std::uint32_t(n_), 0, 32, card_.queue().stream());
  }
  cudaError_t select(void* memory, std::size_t& bytes, const float* values, float threshold) {
    return cub::DeviceSelect::If(memory, bytes, thrust::counting_iterator<std::uint32_t>(0), places_.data(), found_.data(), std::uint32_t(n_), is_above{values, threshold}, card_.queue().stream());
  }

  card& card_;
  std::size_t n_;
  device_memory<float> keys_, sorted_;
  device_memory<std::uint32_t> places_, sorted_places_, found_;
  device_memory<std::byte> memory_;
};

}  // namespace bench

#endif
