// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/core/error.hpp>

// Pipeline schedules as plain data: for each stage the order in which it does the forward (F) and backward (B) work of its
// micro-batches. A schedule of your own is a type with a name and
//
//   static std::vector<schedule::task> order(std::size_t stage, std::size_t stages, std::size_t micro_batches);
//
// examine() replays all stages symbolically: it proves that every dependency is met without deadlock even where a message
// only completes when it is received, and says how long the step takes and how many activations a stage must keep.

namespace entrain::parallel::schedule {

enum class work { forward, backward };

struct task {
  work kind;
  std::size_t micro_batch;
  friend bool operator==(const task&, const task&) = default;
};

using order = std::vector<task>;

// GPipe (Huang et al., NeurIPS 2019): all forwards, then all backwards. Keeps every micro-batch's activations.
struct gpipe {
  static constexpr std::string_view name = "gpipe";
  static schedule::order order(std::size_t, std::size_t, std::size_t micro_batches) {
    schedule::order out;
    for (std::size_t m = 0; m < micro_batches; ++m) out.push_back({work::forward, m});
    for (std::size_t m = 0; m < micro_batches; ++m) out.push_back({work::backward, m});
    return out;
  }
};

// 1F1B with flush (PipeDream-flush, DAPPLE): after p - 1 - s forwards stage s alternates. The same time as GPipe, and at
// most p - s micro-batches' activations.
struct one_forward_one_backward {
  static constexpr std::string_view name = "one_forward_one_backward";
  static schedule::order order(std::size_t stage, std::size_t stages, std::size_t micro_batches) {
    const std::size_t warm_up = std::min(stages - 1 - stage, micro_batches);
    schedule::order out;
    for (std::size_t m = 0; m < warm_up; ++m) out.push_back({work::forward, m});
    for (std::size_t m = warm_up; m < micro_batches; ++m) {
      out.push_back({work::forward, m});
      out.push_back({work::backward, m - warm_up});
    }
    for (std::size_t m = micro_batches - warm_up; m < micro_batches; ++m) out.push_back({work::backward, m});
    return out;
  }
};

struct examination {
  double makespan = 0;             // in the units of the costs given
  double bubble = 0;               // idle share of the makespan, over all stages
  std::vector<std::size_t> peak;   // micro-batches whose activations a stage holds at once
};

// Throws usage_error naming the stuck tasks when the schedule deadlocks or leaves work out.
inline examination examine(const std::vector<order>& stages, std::size_t micro_batches, double forward_cost = 1, double backward_cost = 2) {
  const std::size_t p = stages.size();
  constexpr double never = -1;
  std::vector<std::vector<double>> done[2];
  for (auto& d : done) d.assign(p, std::vector<double>(micro_batches, never));
  std::vector<std::size_t> next(p, 0), live(p, 0);
  std::vector<double> clock(p, 0), busy(p, 0);
  examination result;
  result.peak.assign(p, 0);

  // When the input of a task is there, or `never`.
  const auto input_ready = [&](std::size_t s, const task& t) {
    if (t.kind == work::forward) return s == 0 ? 0.0 : done[0][s - 1][t.micro_batch];
    if (done[0][s][t.micro_batch] == never) return never;
    return s + 1 == p ? done[0][s][t.micro_batch] : done[1][s + 1][t.micro_batch];
  };

  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t s = 0; s < p; ++s)
      while (next[s] < stages[s].size()) {
        const task& t = stages[s][next[s]];
        const double ready = input_ready(s, t);
        if (ready == never) break;
        const bool forward = t.kind == work::forward;
        const double cost = forward ? forward_cost : backward_cost;
        clock[s] = std::max(clock[s], ready) + cost;
        busy[s] += cost;
        done[forward ? 0 : 1][s][t.micro_batch] = clock[s];
        live[s] += forward ? 1 : std::size_t(-1);
        result.peak[s] = std::max(result.peak[s], live[s]);
        ++next[s];
        moved = true;
      }
  }
  for (std::size_t s = 0; s < p; ++s) {
    if (next[s] < stages[s].size()) {
      const task& t = stages[s][next[s]];
      throw usage_error("pipeline schedule", "deadlock: stage " + std::to_string(s) + " waits for the input of " + (t.kind == work::forward ? "F" : "B") +
                                                 std::to_string(t.micro_batch) + ", which never comes");
    }
    for (const auto& d : done)
      if (std::count(d[s].begin(), d[s].end(), never) > 0)
        throw usage_error("pipeline schedule", "stage " + std::to_string(s) + " does not do all its work",
                          "a forward and a backward for each of " + std::to_string(micro_batches) + " micro-batches", std::to_string(stages[s].size()) + " tasks");
  }
  double worked = 0;
  for (std::size_t s = 0; s < p; ++s) result.makespan = std::max(result.makespan, clock[s]), worked += busy[s];
  result.bubble = result.makespan > 0 ? 1 - worked / (double(p) * result.makespan) : 0;
  return result;
}

template <class Schedule>
std::vector<order> orders_of(std::size_t stages, std::size_t micro_batches) {
  std::vector<order> out;
  for (std::size_t s = 0; s < stages; ++s) out.push_back(Schedule::order(s, stages, micro_batches));
  return out;
}

}  // namespace entrain::parallel::schedule
