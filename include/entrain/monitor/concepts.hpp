// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string>

#include <entrain/core/policy.hpp>

// What it means to be a monitor: a policy that is told what happens and may write it somewhere. A trainer takes any
// number of them. Every rank calls its monitors; one that writes for the whole job does so where run.rank == 0, and all
// values that say "global" are the same on every rank. Monitors are told after the step, off its hot path.
//
//   start(run_info)      once, before the first step of a fit
//   step(step_event)     after every step
//   finish(run_summary)  once, at the end of a fit, also after an early stop
//
// Each of the three is optional.

namespace entrain::monitor {

struct run_info {
  int rank = 0, ranks = 1;
  std::uint64_t first_step = 0, steps = 0;  // steps that this fit will take in all, counted from first_step
  std::string description;                  // trainer::describe()
  std::string unit = "samples";             // what `count` counts: samples or tokens
};

struct step_event {
  std::uint64_t step = 0;          // from 0, over the whole life of the run
  double loss = 0;                 // global mean of this step's losses
  std::int64_t count = 0;          // global samples (or tokens) of this step
  double learning_rate = 0;
  double seconds = 0;              // this rank's wall time of the step
  double exposed_seconds = 0;      // of these, spent waiting for communication
  double compute_seconds = 0;      // of these, in forward, backward and update; seconds - exposed - compute is the rest
  std::uint64_t bytes_sent = 0;    // this rank's payload in this step (see comm::traffic)
  double loss_scale = 1;           // of this step's gradients (precision::fp16_mixed)
  bool skipped = false;            // they were not all finite: nothing has changed
};

struct run_summary {
  std::uint64_t steps = 0;         // taken by this fit
  double first_loss = 0, last_loss = 0;  // global mean over the first and the last step
  double seconds = 0;
  std::int64_t count = 0;          // global samples (or tokens)
  bool stopped_early = false;
  std::uint64_t skipped_steps = 0;  // of those taken: their gradients were not all finite
};

template <class M>
concept monitor = policy_for<M, slot::monitor> &&
    (requires(M& m, const run_info& i) { m.start(i); } || requires(M& m, const step_event& e) { m.step(e); } ||
     requires(M& m, const run_summary& s) { m.finish(s); });

}  // namespace entrain::monitor
