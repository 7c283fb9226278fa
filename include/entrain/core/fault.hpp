// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/error.hpp>
#include <entrain/core/policy.hpp>

// Faults on purpose, for tests: a fault policy is told whenever a rank passes a named point of a step and may break
// something there. fault::none is empty and costs nothing.
//
// Points: "step" (before a step), "update" (after the step, before anybody hears of it).

namespace entrain::fault {

struct none {
  using slot_type = slot::fault;
  static constexpr std::string_view name = "none";
  static constexpr void at(std::string_view, int, std::uint64_t) {}
};

// Throws on one rank at one point of one step: what a bad input or a bug in a user's model does.
struct throw_at {
  using slot_type = slot::fault;
  static constexpr std::string_view name = "throw_at";
  int rank = 0;
  std::uint64_t step = 0;
  std::string point = "step";

  void at(std::string_view here, int my_rank, std::uint64_t my_step) const {
    if (my_rank == rank && my_step == step && here == point)
      throw error("fault::throw_at", "injected at point '" + point + "' of step " + std::to_string(step) + " on rank " + std::to_string(rank));
  }
};

}  // namespace entrain::fault
