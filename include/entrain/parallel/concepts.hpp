// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <entrain/core/loss.hpp>
#include <entrain/core/policy.hpp>

// What it means to be a parallel policy: it decides what is exchanged and when. It is a value (its members are options)
// with a class template inside, the replica, which is this rank's half of the work.
//
//   struct my_parallelism {
//     using slot_type = slot::parallelism;
//     template <class Setup> static constexpr bool check();   // static_asserts, one plain sentence each
//     template <class Setup> class replica;
//   };
//
// Setup names the types that were chosen in the other slots: model (an instance), optimizer, communicator, compressor,
// value_type, kept_type. A replica offers
//
//   replica(policy, model&, optimizer, communicator&, compressor)
//   parameters()                    the arena, laid out as model.layout(); whole after assemble_parameters()
//   step(batch, pass, stop)         one training step on this rank's part of the global batch -> step_report
//   loss(batch)                     this rank's part of an evaluation -> loss_sum; no communication but the policy's own
//   assemble_parameters()           collective: makes every rank's arena whole
//   data_rank(), data_ranks()       which part of a global batch this rank's loader must fetch
//   plan(global batch, step)        every collective and message of that step, in order (plan.hpp)
//   save(sink), load(source)        collective: parameters, optimizer state and compressor state by name
//
// Optional: parameters_changed(): parameters() were written to and must reach where the model reads them; require_settable(steps): throws
// where parameters from elsewhere would be spoilt by what the replica holds.
//
// Optional: set_precision(policy): called once, before the first step, where the precision has options.
//
// Optional: `static constexpr bool local_steps = true` in the policy: it takes optimizers that own their communication
// (optim::zero_one_adam), for which it has a replica of their own.
//
// `step` divides once: gradients, losses and counts travel as sums, and the reciprocal of the global count is part of the
// scale that the optimizer applies.

namespace entrain::parallel {

template <class Model, class Optimizer, class Communicator, class Compressor, class Kept = typename Model::value_type>
struct setup {
  using model = Model;
  using optimizer = Optimizer;
  using communicator = Communicator;
  using compressor = Compressor;
  using value_type = typename Model::value_type;
  using kept_type = Kept;  // of parameters that are kept, updated and exchanged in more bits (precision::bf16_mixed)
};

struct step_report {
  loss_sum loss;                // global: the same on every rank
  bool stop = false;            // some rank asked to stop
  double exposed_seconds = 0;   // this rank waited for communication
  double compute_seconds = 0;   // forward, backward and update
  double learning_rate = 0;
  double loss_scale = 1;        // of this step's gradients (precision::fp16_mixed)
  bool skipped = false;         // they were not all finite: nothing has changed
};

template <class P>
inline constexpr bool takes_local_steps = [] {
  if constexpr (requires { P::local_steps; }) return bool(P::local_steps);
  else return false;
}();

template <class P>
concept parallel_policy = policy_for<P, slot::parallelism>;

}  // namespace entrain::parallel
