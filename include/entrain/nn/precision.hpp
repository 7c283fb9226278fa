// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <entrain/core/dtype.hpp>
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

// Activations, gradients and the parameters that products read in bfloat16; the optimizer keeps parameters and its state in fp32
// (Micikevicius et al., "Mixed precision training", ICLR 2018). Memory of a parameter with AdamW: 2 + 2 + 4 + 8 bytes.
struct bf16_mixed {
  using slot_type = slot::precision;
  using value_type = bfloat16;
  using kept_type = float;
  static constexpr std::string_view name = "bf16_mixed";
};

// The format in which parameters are kept, updated and exchanged.
template <class Precision>
struct kept_type_of { using type = typename Precision::value_type; };
template <class Precision>
  requires requires { typename Precision::kept_type; }
struct kept_type_of<Precision> { using type = typename Precision::kept_type; };

}  // namespace entrain::precision
