// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/describe.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/core/small_float.hpp>

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

  bool stochastic_rounding = false;  // of the parameters that products read: right on average (core/stochastic_rounding.hpp)

  std::string describe() const { return stochastic_rounding ? describe_members("bf16_mixed", "stochastic_rounding", stochastic_rounding) : std::string(name); }
};

// The same in IEEE's 16 bits: three digits more, but what is below 6e-8 is lost and what is above 65504 infinite. So the gradient that the
// backward pass begins with is multiplied by a scale, which the update divides by (the same paper). A step whose gradients are not all
// finite is left out, on every rank, and the scale made less; after growth_interval good ones in a row it is made larger.
//
// Gradients here are those of sums of losses: in a batch of 64 a scale of 1024 is one of 65536 where means are taken. Powers of two
// change no digit.
struct fp16_mixed {
  using slot_type = slot::precision;
  using value_type = binary16;
  using kept_type = float;
  static constexpr std::string_view name = "fp16_mixed";

  double first_scale = 1024;
  double growth = 2, backoff = 0.5;
  std::uint64_t growth_interval = 2000;
  bool stochastic_rounding = false;

  std::string describe() const {
    return describe_members("fp16_mixed", "first_scale", first_scale, "growth", growth, "backoff", backoff, "growth_interval", growth_interval, "stochastic_rounding", stochastic_rounding);
  }
};

// An experiment: bf16_mixed whose linear layers multiply in 8 bits, forwards and backwards (Micikevicius et al., "FP8 formats for deep
// learning", 2022). Activations and weights are rounded to e4m3 (4 exponent, 3 fraction bits), gradients that flow back to e5m2, each
// factor after multiplication with one scale that brings its largest magnitude into the format's topmost power of two; the scale is found from
// the factor at hand ("current scaling"), so that nothing is kept between steps. Results and sums are those of bf16_mixed. The tied
// language head, attention and convolutions keep 16 bits, and so do layers whose sizes are no multiples of 16.
struct fp8_mixed {
  using slot_type = slot::precision;
  using value_type = bfloat16;
  using kept_type = float;
  static constexpr bool float8_products = true;
  static constexpr std::string_view name = "fp8_mixed";

  bool stochastic_rounding = false;  // as bf16_mixed's; of the 16-bit parameters, not of the 8-bit factors

  std::string describe() const { return stochastic_rounding ? describe_members("fp8_mixed", "stochastic_rounding", stochastic_rounding) : std::string(name); }
};

// Whether a precision asks the engine for products of 8-bit factors.
template <class Precision>
inline constexpr bool asks_float8_products = requires { requires Precision::float8_products; };

// The format in which parameters are kept, updated and exchanged.
template <class Precision>
struct kept_type_of { using type = typename Precision::value_type; };
template <class Precision>
  requires requires { typename Precision::kept_type; }
struct kept_type_of<Precision> { using type = typename Precision::kept_type; };

}  // namespace entrain::precision
