// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <entrain/monitor/concepts.hpp>

namespace entrain::test {

// A monitor that notes the loss of each step.
struct losses_to {
  using slot_type = slot::monitor;
  std::vector<double>* to;
  void step(const monitor::step_event& e) { to->push_back(e.loss); }
};

}  // namespace entrain::test
