// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

// Policies and slots. A slot is one question that distributed training asks; a policy is one answer: a small value whose
// members are its hyper-parameters. It says which question it answers with one line,
//
//   struct my_optimizer {
//     using slot_type = entrain::slot::optimizer;
//     float learning_rate = 0.1f;
//     ...
//   };
//
// and that tag is all the trainer needs to sort its arguments, so they may stand in any order. What else a slot demands
// stands in its folder's concepts.hpp. For a type that you cannot edit, specialise entrain::slot_of instead.

namespace entrain {

namespace slot {
struct model { static constexpr std::string_view name = "model"; };
struct optimizer { static constexpr std::string_view name = "optimizer"; };
struct communicator { static constexpr std::string_view name = "communicator"; };
struct compression { static constexpr std::string_view name = "compression"; };
struct parallelism { static constexpr std::string_view name = "parallelism"; };
struct engine { static constexpr std::string_view name = "engine"; };
struct precision { static constexpr std::string_view name = "precision"; };
struct monitor { static constexpr std::string_view name = "monitor"; };
struct checkpoint { static constexpr std::string_view name = "checkpoint"; };
struct fault { static constexpr std::string_view name = "fault"; };
}  // namespace slot

template <class Policy>
struct slot_of {};

template <class Policy>
  requires requires { typename Policy::slot_type; }
struct slot_of<Policy> {
  using type = typename Policy::slot_type;
};

template <class Policy>
using slot_of_t = typename slot_of<std::remove_cvref_t<Policy>>::type;

template <class T>
concept policy = requires { typename slot_of_t<T>; };

template <class T, class Slot>
concept policy_for = policy<T> && std::same_as<slot_of_t<T>, Slot>;

}  // namespace entrain
