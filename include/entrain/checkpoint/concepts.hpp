// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include <entrain/core/policy.hpp>

// What it means to be a checkpoint policy: it says when the run's state is kept, and where.
//
//  1. slot_type is slot::checkpoint.
//  2. due(steps) is true when the state should be saved after so many steps; the same answer on every rank.
//  3. save(archive, steps) publishes it whole or not at all. Only rank 0 calls it.
//  4. latest() finds the newest state that verifies. Only rank 0 calls it and tells the others; ranks that look for
//     themselves may see different files.
//  5. enabled is false for the policy that keeps nothing; then 2 to 4 are never asked for.

namespace entrain::checkpoint {

class archive;

template <class P>
concept checkpointing = policy_for<P, slot::checkpoint> && requires(const P& p, const archive& state, std::uint64_t steps) {
  { P::enabled } -> std::convertible_to<bool>;
  { p.due(steps) } -> std::same_as<bool>;
  p.save(state, steps);
  p.latest();
};

}  // namespace entrain::checkpoint
