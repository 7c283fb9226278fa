// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/checkpoint/archive.hpp>
#include <entrain/checkpoint/concepts.hpp>
#include <entrain/core/error.hpp>

// The laws of a checkpoint policy, for any policy whose place to keep states is empty:
// entrain::testing::check_checkpoint(my_policy{}); throws entrain::error.
//
//   1. Nothing kept, nothing found.
//   2. What was saved last is what latest() finds, and it reads back bit for bit.
//   3. due() is a function of the number of steps, and false before the first.
//   4. A policy that is not enabled finds nothing and is never due.

namespace entrain::testing {

template <checkpoint::checkpointing P>
void check_checkpoint(const P& policy) {
  const auto require = [](bool holds, const std::string& law) {
    if (!holds) throw error("law of checkpoint policies", law + " does not hold");
  };
  require(!policy.latest(), "nothing kept, nothing found");
  require(!policy.due(0), "no state is due before the first step");
  for (std::uint64_t s = 0; s < 300; ++s) require(policy.due(s) == policy.due(s), "due is a function of the number of steps");
  if constexpr (!P::enabled) {
    for (std::uint64_t s = 0; s < 300; ++s) require(!policy.due(s), "a disabled policy is never due");
  } else {
    for (const std::uint64_t step : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{30}}) {
      std::vector<float> values(100);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0f / float(i + step);
      checkpoint::archive state;
      state.add("values", std::span<const float>(values));
      state.add_scalar("steps", step);
      policy.save(state, step);

      const auto found = policy.latest();
      require(bool(found) && found.step == step, "the state saved last is found");
      std::vector<float> read(values.size());
      std::uint64_t steps = 0;
      const auto stored = checkpoint::archive::load(found.path);
      stored.read("values", std::span<float>(read));
      stored.read_scalar("steps", steps);
      require(read == values && steps == step, "a state reads back bit for bit");
    }
  }
}

}  // namespace entrain::testing
