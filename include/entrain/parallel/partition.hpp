// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include <entrain/core/error.hpp>

// Cuts a chain of units into contiguous stages so that the most expensive stage costs as little as possible (dynamic
// programming over cut positions, O(stages * units^2); units are few). Every stage gets at least one unit.

namespace entrain::parallel {

// first[s] is the first unit of stage s; first[stages] == cost.size().
inline std::vector<std::size_t> balanced_cuts(const std::vector<double>& cost, std::size_t stages) {
  const std::size_t n = cost.size();
  if (stages == 0 || n < stages)
    throw usage_error("parallel::pipeline", "the model has too few pieces to give every rank a stage", std::to_string(stages) + " or more", std::to_string(n));
  std::vector<double> before(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) before[i + 1] = before[i] + cost[i];

  constexpr double infinity = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(stages + 1, std::vector<double>(n + 1, infinity));
  std::vector<std::vector<std::size_t>> from(stages + 1, std::vector<std::size_t>(n + 1, 0));
  best[0][0] = 0;
  for (std::size_t s = 1; s <= stages; ++s)
    for (std::size_t end = s; end <= n; ++end)
      for (std::size_t begin = s - 1; begin < end; ++begin) {
        const double worst = std::max(best[s - 1][begin], before[end] - before[begin]);
        if (worst < best[s][end]) best[s][end] = worst, from[s][end] = begin;
      }

  std::vector<std::size_t> first(stages + 1, n);
  for (std::size_t s = stages; s > 0; --s) first[s - 1] = from[s][first[s]];
  return first;
}

}  // namespace entrain::parallel
