// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include <entrain/core/policy.hpp>
#include <entrain/monitor/concepts.hpp>

// Keeps what happens in memory, for tests and examples:
//
//   std::vector<monitor::step_event> events;
//   trainer run{..., monitor::record{events}};
//
// The vector must outlive the trainer. One rank records, the first unless told otherwise, so that ranks which are threads
// may share the vector.

namespace entrain::monitor {

class record {
 public:
  using slot_type = slot::monitor;
  static constexpr std::string_view name = "record";

  explicit record(std::vector<step_event>& events, int rank = 0) : events_(&events), rank_(rank) {}

  void start(const run_info& run) {
    active_ = run.rank == rank_;
    if (active_) events_->reserve(events_->size() + run.steps);  // nothing is allocated during the steps
  }
  void step(const step_event& event) {
    if (active_) events_->push_back(event);
  }

 private:
  std::vector<step_event>* events_;
  int rank_;
  bool active_ = true;
};

}  // namespace entrain::monitor
