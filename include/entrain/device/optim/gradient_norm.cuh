// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <entrain/device/launch.cuh>
#include <entrain/device/optim/quad.cuh>
#include <entrain/device/optim/update_table.cuh>
#include <entrain/device/reduce.cuh>

// The global gradient norm without a round trip to the host: squares, then the factor that gradients are multiplied with, both in
// device memory, where update() reads the factor.
//
//   device::gradient_squares(queue, table, gradient, squares);
//   device::gradient_scale(queue, {.factor = 1.0 / samples, .clip_norm = 1, .squares = squares}, scale);
//   device::update(queue, optimizer, context, table, ..., {.gradient_scale = scale});
//
// Sums are in double, in an order that depends on the table alone: the same bits in every run and on every card. Squares of floats fit
// double, so they are finite if and only if every gradient is: that is the test of dynamic loss scaling, at no further cost. The factor is
// the host's, to the bit, also of gradients that are not finite (parallel/update.hpp). (Of doubles
// only up to 1e154.) One read of the gradient: 4 bytes a parameter in fp32, 2 in bfloat16; 124 M parameters: 0.12 or 0.06 ms at 4.3 TB/s.

namespace entrain::device {

inline constexpr int update_threads = 256;

template <class T>
__device__ inline double squares_of_chunk(const update_chunk& chunk, const T* values, bool wide) {
  double sum = 0;
  for (std::uint32_t i = 4 * threadIdx.x; i < chunk.count; i += 4 * blockDim.x) {
    const quad<T> v = load_quad(values + chunk.offset + i, int(chunk.count - i), wide);
    for (int j = 0; j < 4; ++j) sum += double(arithmetic<T>(v.value[j])) * double(arithmetic<T>(v.value[j]));
  }
  return block_sum(sum);
}

template <class G>
__global__ void __launch_bounds__(update_threads) squares_of_chunks(update_map table, const G* gradient, double* partial) {
  const double sum = squares_of_chunk(table.chunks[blockIdx.x], gradient, table.wide);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

inline __device__ double sum_of_partials(const double* partial, std::size_t count, std::size_t stride) {
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i * stride];
  return block_sum(sum);
}

template <int>  // a template, as all kernels, so that headers may be in several translation units
__global__ void sum_partials(const double* partial, std::size_t count, double* sum) {
  const double total = sum_of_partials(partial, count, 1);
  if (threadIdx.x == 0) *sum = total;
}

// *squares (device memory) = the sum of the gradient's squares over the table's blocks.
template <class G>
void gradient_squares(const engine::cuda_queue& queue, const update_table& table, const G* gradient, double* squares) {
  launch(queue, squares_of_chunks<G>, {unsigned(table.chunk_count()), update_threads}, table.map(aligned(gradient)), gradient, table.partial());
  launch(queue, sum_partials<0>, {1, 1024}, static_cast<const double*>(table.partial()), table.chunk_count(), squares);
}

// Pointers are to device memory, and may be null.
struct gradient_factors {
  double factor = 1;                // of the sums: 1 / samples
  double clip_norm = 0;             // of what the factor makes of the gradient; 0: none
  const double* squares = nullptr;  // of the sums, over all ranks
};

template <int>
__global__ void settle_gradient_scale(gradient_factors of, double* scale) {
  double s = of.factor;
  if (of.squares) {
    const double norm = std::sqrt(*of.squares) * s;
    if (of.clip_norm > 0 && norm > of.clip_norm) s = s * of.clip_norm / norm;
  }
  *scale = s;
}

// *scale = what sums of gradients are multiplied with.
inline void gradient_scale(const engine::cuda_queue& queue, const gradient_factors& of, double* scale) {
  launch(queue, settle_gradient_scale<0>, {1, 1}, of, scale);
}

}  // namespace entrain::device
