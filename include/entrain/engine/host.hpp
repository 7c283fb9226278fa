// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <entrain/core/memory.hpp>
#include <entrain/core/policy.hpp>

// Where arithmetic runs. An operation of the library is a small descriptor (nn/ops.hpp) and one overload of
// `run(engine, descriptor, pointers...)` an engine. `host` converts to `reference`, so an operation that has no
// optimised host form falls back to the plain one by overload resolution, at compile time.

namespace entrain::engine {

// Plain sequential loops, always there: the truth that every other implementation is held against.
struct reference {
  using slot_type = slot::engine;
  using space = host_space;
  static constexpr std::string_view name = "reference";
};

// Vectorised loops, and oneDNN for float matrix products (convolutions are such products too) when the target
// entrain::onednn is linked. `threads`: threads that one rank's oneDNN products may use.
struct host {
  using slot_type = slot::engine;
  using space = host_space;
  static constexpr std::string_view name = "host";
  int threads = 1;

  constexpr operator reference() const { return {}; }
};

}  // namespace entrain::engine
