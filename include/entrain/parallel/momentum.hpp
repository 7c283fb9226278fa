// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <entrain/compress/choices.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>

// Momentum belongs to the optimizer or to a compressor, once, and where both have a part in it (optim::one_bit_adam) with the same
// factor and from the same step on. Types are compared in trainer/diagnosis.hpp, figures here, before the first step.

namespace entrain::parallel {

// Some compressor of the policy accumulates momentum before it encodes.
template <class Compression>
constexpr bool brings_momentum() {
  return []<class... C>(std::type_identity<std::tuple<C...>>) { return (compress::has_momentum<C> || ...); }(std::type_identity<compress::leaves_of<Compression>>{});
}

template <class Compression, class Optimizer>
void check_momentum(const Optimizer& optimizer) {
  if constexpr (brings_momentum<Compression>() && requires { { optimizer.momentum } -> std::convertible_to<double>; })
    if (optimizer.momentum != 0)
      throw usage_error("trainer", "momentum twice: the compressor has it already", "an optimizer with a momentum of 0", entrain::detail::text(optimizer.momentum));
}

// For an optimizer that takes the momentum from the exchange after `freeze_after` steps.
template <class Optimizer, class Compression>
void check_same_momentum(const Optimizer& optimizer, const Compression& compression) {
  if constexpr (requires { requires Optimizer::takes_momentum; }) {
    const auto refuse = [&](const auto& found) {
      throw usage_error("trainer", "the optimizer and the compressor do not agree about the momentum: make the compressor with one_bit_momentum_of(optimizer)",
                        entrain::detail::text("beta1 = ", optimizer.beta1, ", freeze_after = ", optimizer.freeze_after), entrain::describe(found));
    };
    const auto check = [&](const auto& leaf) {
      if constexpr (requires { leaf.beta1, leaf.freeze_after; })
        if (leaf.beta1 != optimizer.beta1 || leaf.freeze_after != optimizer.freeze_after) refuse(leaf);
    };
    std::apply([&](const auto&... leaf) { (check(leaf), ...); }, compress::leaves(compression));
    std::vector<std::uint64_t> changes;
    compress::add_changes(compression, changes);
    if (std::any_of(changes.begin(), changes.end(), [&](std::uint64_t step) { return step != optimizer.freeze_after; })) refuse(compression);
  }
}

}  // namespace entrain::parallel
