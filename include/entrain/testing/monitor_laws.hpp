// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

#include <entrain/monitor/concepts.hpp>

// The laws of a monitor, for any policy: entrain::testing::check_monitor(my_monitor{}); what the monitor throws comes out.
//
//   1. It takes start, any number of steps (also none) and finish, on rank 0 and on others, and all of that again: a trainer
//      may fit twice.
//   2. A loss that is not a number, a step that took no time and a run that stopped early are events like any other.
//   3. It is copied into the trainer and works there.

namespace entrain::testing {

template <monitor::monitor M>
void check_monitor(const M& given, std::uint64_t steps = 30) {
  for (const int rank : {0, 1}) {
    M m = given;
    std::uint64_t first = 0;
    for (const std::uint64_t taken : {steps, std::uint64_t{0}, std::uint64_t{1}}) {
      const monitor::run_info info{rank, 2, first, taken + 1, "a run of the laws", "samples"};
      if constexpr (requires { m.start(info); }) m.start(info);
      for (std::uint64_t s = 0; s < taken; ++s) {
        const double loss = s == 3 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / double(s + 1);
        const monitor::step_event event{first + s, loss, 8, 0.1, s == 4 ? 0.0 : 0.01, s == 4 ? 0.0 : 0.002, s == 4 ? 0.0 : 0.007, 1000};
        if constexpr (requires { m.step(event); }) m.step(event);
      }
      first += taken;
      const monitor::run_summary summary{taken, 1, 0.5, 0.01 * double(taken), std::int64_t(8 * taken), true};
      if constexpr (requires { m.finish(summary); }) m.finish(summary);
    }
  }
}

}  // namespace entrain::testing
