// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>

// What is not trained but observed (batch norm's running values): running = (1 - momentum) running + momentum * sum / samples, in double
// as on the host. They are few: a launch of its own, some microseconds.

namespace entrain::device {

template <class M, class T, class G>
__global__ void follow_statistics(std::size_t n, double momentum, double samples, const G* sums, M* running, T* copy, bool forgiving) {
  for (std::size_t i = thread_index(); i < n; i += thread_count()) {
    const double sum = double(arithmetic<G>(sums[i]));
    if (forgiving && !std::isfinite(sum)) continue;
    running[i] = M((1 - momentum) * double(running[i]) + momentum * sum / samples);
    if constexpr (!std::is_same_v<M, T>) copy[i] = T(float(running[i]));
  }
}

}  // namespace entrain::device
