// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>

#include <entrain/core/error.hpp>

// Catch2's assertions may be used by one thread only. HOLDS is for the ranks: it throws, and run_ranks brings the exception out.
#define HOLDS(...)                                                                                                \
  do {                                                                                                            \
    if (!(__VA_ARGS__)) throw ::entrain::error(__FILE__ ":" + std::to_string(__LINE__), "not so: " #__VA_ARGS__); \
  } while (false)

// Must throw Error.
#define HOLDS_THROWS(Error, ...)                                                                                              \
  do {                                                                                                                        \
    bool thrown_ = false;                                                                                                     \
    try {                                                                                                                     \
      __VA_ARGS__;                                                                                                            \
    } catch (const Error&) { thrown_ = true; }                                                                                \
    if (!thrown_) throw ::entrain::error(__FILE__ ":" + std::to_string(__LINE__), "did not throw " #Error ": " #__VA_ARGS__); \
  } while (false)
