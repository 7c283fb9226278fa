// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Other number formats: batches on their way in, kept parameters on their way to those that products read. Bytes: each value read and
// written once; neighbouring threads take neighbouring values.

namespace entrain::device {

template <class A, class B>
__global__ void convert(const A* in, B* out, std::size_t n) {
  for (std::size_t i = thread_index(); i < n; i += thread_count()) out[i] = B(arithmetic<A>(in[i]));
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class A, class B>
void run(const engine::cuda_queue& queue, const convert& op, const A* in, B* out) {
  device::launch(queue, device::convert<A, B>, {device::grid_for(queue, op.count, 256), 256}, in, out, op.count);
}

}  // namespace entrain::nn::ops

namespace entrain::engine {

// Parameters that are kept in more bits, for the model (parallel/device_replica.hpp).
template <class Kept, class T>
void round_parameters(const cuda_queue& queue, const Kept* kept, T* computed, std::size_t n) {
  run(queue, nn::ops::convert{n}, kept, computed);
}

}  // namespace entrain::engine
