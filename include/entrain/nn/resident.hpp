// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

#include <entrain/core/memory.hpp>
#include <entrain/nn/detail/dispatch.hpp>

// A batch where the engine can read it: where it lies for engines that compute on host memory, else a copy in the engine's memory,
// sent when its forward pass begins.

namespace entrain::nn {

// What layers see of a batch.
template <class Batch>
struct resident_batch {
  const typename decltype(Batch::inputs)::value_type* inputs = nullptr;
  const typename decltype(Batch::targets)::value_type* targets = nullptr;
};

template <class Batch, memory_space Space>
class batch_memory {
 public:
  template <class Engine>
  void send(const Engine& engine, const Batch& batch) {
    if constexpr (!Space::host_accessible) send(engine, batch.inputs, inputs_), send(engine, batch.targets, targets_);
  }
  resident_batch<Batch> of([[maybe_unused]] const Batch& batch) const {
    if constexpr (Space::host_accessible) return {batch.inputs.data(), batch.targets.data()};
    else return {inputs_.data(), targets_.data()};
  }

 private:
  template <class Engine, class T>
  static void send(const Engine& engine, const std::vector<T>& from, buffer<T, Space>& to) {
    if (to.size() < from.size()) to = buffer<T, Space>(from.size());
    op::do_copy(engine, from.data(), to.data(), from.size());
  }
  struct nothing {};
  template <class V>
  using memory = std::conditional_t<Space::host_accessible, nothing, buffer<typename V::value_type, Space>>;
  [[no_unique_address]] memory<decltype(Batch::inputs)> inputs_;
  [[no_unique_address]] memory<decltype(Batch::targets)> targets_;
};

}  // namespace entrain::nn
