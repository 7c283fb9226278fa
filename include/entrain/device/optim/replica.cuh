// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include <entrain/core/layout.hpp>
#include <entrain/device/optim/gradient_norm.cuh>
#include <entrain/device/optim/update.cuh>
#include <entrain/device/optim/update_table.cuh>

// What the replica of a device's trainer (parallel/device_replica.hpp) asks of its engine, under the names that it looks for.

namespace entrain::engine {

inline device::update_table make_update_table(const cuda_queue&, const parameter_layout& layout) { return device::update_table(layout, 0, layout.size()); }

// The sum of squares of a whole gradient; waits for it.
template <class T>
double sum_of_squares(const cuda_queue& queue, const device::update_table& table, const T* gradient) {
  device::gradient_squares(queue, table, gradient, queue.context().scalars());
  return *queue.context().read_scalars(queue.stream(), 1);
}

template <class Optimizer, class Arrays>
void apply_update(const cuda_queue& queue, const Optimizer& optimizer, const optim::update_context& context, const device::update_table& table, const Arrays& arrays) {
  device::update(queue, optimizer, context, table, arrays.kept, arrays.computed, arrays.gradient, arrays.state);
}

}  // namespace entrain::engine
