// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/optim/concepts.hpp>

// The optimizer's state on this rank, and its application to settled gradients. The state covers `local` elements: the
// whole trained arena, or this rank's shards of it; which element of it belongs to which parameter the caller says.

namespace entrain::parallel {

// f(block, first element in the arena, count) for every trained block's share of arena[begin, end).
template <class F>
void for_each_block_in(const parameter_layout& layout, std::size_t begin, std::size_t end, F&& f) {
  for (const auto& block : layout.blocks()) {
    if (block.kind == block_kind::statistic) continue;
    const std::size_t from = std::max(begin, block.offset), to = std::min(end, block.offset + block.count);
    if (from < to) f(block, from, to - from);
  }
}

// Whether the optimizer, as it is set, keeps its field f.
template <class Optimizer>
bool needs_field(const Optimizer& optimizer, [[maybe_unused]] std::size_t f) {
  if constexpr (requires { optimizer.needs_field(f); }) return optimizer.needs_field(f);
  else return true;
}
// What field f of a block is called in checkpoints, on every replica and engine.
template <class Optimizer>
std::string field_name(std::size_t f, const std::string& block) {
  return "optimizer." + std::string(Optimizer::fields[f]) + "." + block;
}

template <class T, class Optimizer>
class optimizer_state {
 public:
  static constexpr std::size_t field_count = Optimizer::fields.size();

  optimizer_state(const Optimizer& optimizer, std::size_t local) : optimizer_(optimizer) {
    for (std::size_t f = 0; f < field_count; ++f)
      if (needs(f)) fields_[f] = buffer<T>(local);
  }

  const Optimizer& optimizer() const { return optimizer_; }
  bool needs(std::size_t f) const { return needs_field(optimizer_, f); }
  std::span<T> field(std::size_t f) const { return fields_[f].span(); }

  // One step for the parameters whose gradients these are. `first`: where the state of gradient.values[0] lies. `idle`: of each block
  // of the layout, 1 where it rests; empty where none does.
  template <class Placement>
    requires settled_placement<Placement>
  void apply(const parameter_layout& layout, optim::update_context context, placed<T, Placement> gradient, std::span<T> parameters, std::size_t first, std::span<const std::uint8_t> idle = {}) const {
    const std::size_t begin = gradient.offset;
    for_each_block_in(layout, begin, begin + gradient.values.size(), [&](const parameter_block& block, std::size_t at, std::size_t count) {
      std::array<T*, field_count> state{};
      for (std::size_t f = 0; f < field_count; ++f) state[f] = fields_[f].empty() ? nullptr : fields_[f].data() + first + (at - begin);
      if (!idle.empty() && idle[std::size_t(&block - layout.blocks().data())]) return;
      context.kind = block.kind;
      optimizer_.update(context, parameters.data() + at, static_cast<const T*>(gradient.values.data() + (at - begin)), state, count);
    });
  }

 private:
  Optimizer optimizer_;
  std::array<buffer<T>, field_count> fields_;
};

// Sum of squares in double, in a fixed order with eight partial sums.
template <class T>
double sum_of_squares(view<const T> values) {
  std::array<double, 8> partial{};
  std::size_t i = 0;
  for (; i + 8 <= values.size(); i += 8)
    for (std::size_t j = 0; j < 8; ++j) partial[j] += double(values[i + j]) * double(values[i + j]);
  for (; i < values.size(); ++i) partial[0] += double(values[i]) * double(values[i]);
  return ((partial[0] + partial[4]) + (partial[1] + partial[5])) + ((partial[2] + partial[6]) + (partial[3] + partial[7]));
}

// What the gradient sums are multiplied with: 1 / count, and less where their mean's norm exceeds the limit.
inline double gradient_scale(std::int64_t count, double clip_norm, double squares_of_sums) {
  const double mean = 1.0 / double(count);
  if (clip_norm <= 0) return mean;
  const double norm = std::sqrt(squares_of_sums) * mean;
  return norm > clip_norm ? mean * clip_norm / norm : mean;
}

// Batch norm's running values: x = 0.9 x + 0.1 (sum of observations / count).
inline constexpr double statistic_momentum = 0.1;
template <class T>
void update_statistics(std::span<const T> observed, std::span<T> running, std::int64_t count) {
  for (std::size_t i = 0; i < running.size(); ++i)
    running[i] = T((1 - statistic_momentum) * double(running[i]) + statistic_momentum * double(observed[i]) / double(count));
}

}  // namespace entrain::parallel
