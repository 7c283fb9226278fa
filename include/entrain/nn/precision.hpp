// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <entrain/core/policy.hpp>

// In which number format a model computes, keeps its parameters and sums its gradients.

namespace entrain::precision {

struct fp32 {
  using slot_type = slot::precision;
  using value_type = float;
  static constexpr std::string_view name = "fp32";
};

// Double precision: for simulations that need it and for checking gradients. Takes the plain kernels.
struct fp64 {
  using slot_type = slot::precision;
  using value_type = double;
  static constexpr std::string_view name = "fp64";
};

}  // namespace entrain::precision
