// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>

// What is not trained but observed (batch norm's running values): running = (1 - momentum) running + momentum * observed * scale, in double
// as on the host. They are few: a launch of its own, some microseconds.

namespace entrain::device {

template <class M, class T, class G>
__global__ void follow_statistics(std::size_t n, double momentum, double count, const double* counted, const G* observed, M* running, T* copy) {
  const double samples = counted ? *counted : count;
  for (std::size_t i = thread_index(); i < n; i += thread_count()) {
    running[i] = M((1 - momentum) * double(running[i]) + momentum * double(arithmetic<G>(observed[i])) / samples);
    if constexpr (!std::is_same_v<M, T>) copy[i] = T(float(running[i]));
  }
}

// observed: sums over `count` samples, or over *counted where that (device memory) is given. copy: running in T; running itself if T is M.
template <class M, class T, class G>
void update_statistics(const engine::cuda_queue& queue, std::size_t n, double momentum, double count, const double* counted, const G* observed, M* running, T* copy) {
  launch(queue, follow_statistics<M, T, G>, {grid_for(queue, n, 256), 256}, n, momentum, count, counted, observed, running, copy);
}

}  // namespace entrain::device
