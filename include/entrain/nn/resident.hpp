// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <entrain/core/memory.hpp>
#include <entrain/nn/detail/dispatch.hpp>

// A batch where the engine can read it: where it lies for engines that compute on host memory, else a copy in the engine's memory,
// sent when its forward pass begins or before, by way of pinned memory.

namespace entrain::nn {

// What layers see of a batch.
template <class Batch>
struct resident_batch {
  const typename decltype(Batch::inputs)::value_type* inputs = nullptr;
  const typename decltype(Batch::targets)::value_type* targets = nullptr;
};

// What sending a batch settled. Passes for which it is the same find the same sizes and the same addresses.
struct sent_batch {
  std::size_t rows = 0, length = 0;
  std::size_t moves = 0;  // how often memory of the network has moved so far
};

// One array of a batch, in pinned memory and in the engine's. Both are kept and grow with the largest batch, so that copies run
// beside the host and addresses stay.
template <class T, class Engine>
class sent_array {
 public:
  // Returns whether the engine's copy has moved. The host waits only for the copy before this one.
  bool send(const Engine& engine, const std::vector<T>& from) {
    if (from.empty()) return false;
    copied_.wait();
    const bool moves = there_.size() < from.size();
    if (moves) here_ = buffer<T, typename Engine::staging_space>(from.size()), there_ = buffer<T, typename Engine::space>(from.size());
    std::copy(from.begin(), from.end(), here_.data());
    op::do_copy(engine, static_cast<const T*>(here_.data()), there_.data(), from.size());
    engine.mark(copied_);
    return moves;
  }
  const T* data() const { return there_.data(); }

 private:
  buffer<T, typename Engine::staging_space> here_;
  buffer<T, typename Engine::space> there_;
  typename Engine::event copied_;
};

template <class Batch, class Engine>
class batch_memory {
  static constexpr bool is_copied = !Engine::space::host_accessible;

 public:
  // Returns whether what of() gives has moved.
  bool send([[maybe_unused]] const Engine& engine, [[maybe_unused]] const Batch& batch) {
    if constexpr (is_copied) {
      const bool inputs_move = inputs_.send(engine, batch.inputs), targets_move = targets_.send(engine, batch.targets);
      return inputs_move || targets_move;
    } else return false;
  }
  resident_batch<Batch> of([[maybe_unused]] const Batch& batch) const {
    if constexpr (is_copied) return {inputs_.data(), targets_.data()};
    else return {batch.inputs.data(), batch.targets.data()};
  }

 private:
  template <class V, bool>
  struct array {};
  template <class V>
  struct array<V, true> : sent_array<typename V::value_type, Engine> {};
  [[no_unique_address]] array<decltype(Batch::inputs), is_copied> inputs_;
  [[no_unique_address]] array<decltype(Batch::targets), is_copied> targets_;
};

}  // namespace entrain::nn
