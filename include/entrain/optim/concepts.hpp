// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <entrain/core/layout.hpp>
#include <entrain/core/policy.hpp>

// What it means to be an optimizer: a rule that maps (parameter, gradient, state) to (parameter, state).
//
//  1. slot_type is slot::optimizer; the members are hyper-parameters.
//  2. `fields` names the state arrays, each as long as the parameters; the library owns, shards, saves and restores them.
//     They begin at zero.
//  3. update(context, parameters, gradient, state, n) applies one step to n consecutive elements that belong to one block.
//     gradient[i] * context.gradient_scale is the mean gradient (the division by the global count and the clipping factor
//     are in that scale, so that no pass over memory is spent on them).
//  4. elementwise: true when the update of an element depends on that element alone. Only then may the state be sharded
//     at any boundary.
//  5. learning_rate_at(step) is the rate used at a step (from 0); it is what monitors show.
//  6. clip_norm(): the global gradient norm above which gradients are scaled down; 0 never asks for the norm.
//  7. owns_communication (optional): true where the optimizer says what travels in which step. In place of update() it then has
//     averages_gradient(step), synchronises(step), rate_factor(step), check() and the parts of a step, average(), advance() and move():
//     see optim/zero_one_adam.hpp for what they do, and parallel/local_steps.hpp, which calls them. It has two fields, of which ranks
//     keep a share of the first, and the same of the second.
//
// The optimizer is stateless and the same object serves every block; calls for different blocks may come in any order,
// as their exchanges finish.

namespace entrain::optim {

struct update_context {
  std::uint64_t step = 0;      // from 0
  double learning_rate = 0;
  double gradient_scale = 1;
  block_kind kind = block_kind::weight;
};

template <class O>
concept has_fields = requires {
  { O::fields.size() } -> std::convertible_to<std::size_t>;
  { O::fields[0] } -> std::convertible_to<std::string_view>;
};

template <class O, class T>
concept has_update = has_fields<O> && requires(const O& o, const update_context& c, T* p, const T* g, std::array<T*, O::fields.size()> state, std::size_t n) {
  o.update(c, p, g, state, n);
};

template <class O>
concept has_learning_rate = requires(const O& o) {
  { o.learning_rate_at(std::uint64_t{}) } -> std::convertible_to<double>;
};

template <class O>
concept says_elementwise = requires {
  { O::elementwise } -> std::convertible_to<bool>;
};

// Says itself what travels in which step.
template <class O>
inline constexpr bool owns_communication = [] {
  if constexpr (requires { O::owns_communication; }) return bool(O::owns_communication);
  else return false;
}();

template <class O, class T>
concept has_local_steps = requires(const O& o, std::uint64_t step, double d, block_kind kind, const T* from, T* to, std::size_t n) {
  { o.averages_gradient(step) } -> std::convertible_to<bool>;
  { o.synchronises(step) } -> std::convertible_to<bool>;
  { o.rate_factor(step) } -> std::convertible_to<double>;
  o.check();
  o.average(d, d, from, to, to, n);
  o.advance(d, d, from, to, to, n);
  o.move(step, d, kind, d, from, from, from, to, n);
};

template <class O, class T>
concept updates_parameters = has_update<O, T> || (owns_communication<O> && has_local_steps<O, T>);

template <class O, class T>
concept optimizer = policy_for<O, slot::optimizer> && has_fields<O> && updates_parameters<O, T> && has_learning_rate<O> && says_elementwise<O>;

template <class O>
double clip_norm_of(const O& o) {
  if constexpr (requires { o.clip_norm(); }) return o.clip_norm();
  else return 0;
}

template <class O>
inline constexpr bool may_clip = requires(const O& o) { o.clip_norm(); };

}  // namespace entrain::optim
