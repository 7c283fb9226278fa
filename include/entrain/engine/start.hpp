// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

// An engine policy is a value that is written down; an engine that runs may hold streams and handles. start(policy) makes the second
// from the first; engines that hold nothing are both.

namespace entrain::engine {

template <class Engine>
auto start(const Engine& policy) {
  if constexpr (requires { policy.start(); }) return policy.start();
  else return policy;
}

template <class Engine>
using running = decltype(start(std::declval<const Engine&>()));

}  // namespace entrain::engine
