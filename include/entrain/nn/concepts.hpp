// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>

#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/nn/pass.hpp>

// What a model must offer. Each concept refines the last; a parallel policy asks for the least that it needs.
//
// differentiable  (data parallelism, sharding, servers, local SGD, gossip, federated learning)
//   1. layout() names its parameter blocks.
//   2. initialise(parameters, seed) writes first values; the same seed gives the same values on every rank.
//   3. loss_and_gradient(parameters, batch, gradient) returns the SUM of the samples' losses with their count and ADDS
//      the gradient of that sum. It must accept an empty batch (a rank may run out of data): {0, 0} and nothing added.
//   Optional: loss(parameters, batch) for evaluation; without it the gradient is computed and dropped.
//
// layered         (overlap of exchange and backward pass)
//   4. loss_and_gradient(parameters, batch, gradient, pass, ready) does the same with the pass's settings and calls
//      ready(block) exactly once a block, the moment its gradient is final.
//
// staged          (pipelines)
//   5. units() is the number of pieces between which it may be cut; unit_blocks(u) the parameter blocks that piece u
//      uses (a block may be used by several: tied weights); unit_cost(u) its floating-point operations a sample.
//   6. make_stage(first, last, slots) makes the instance of units [first, last) with room for `slots` micro-batches in
//      flight; see nn/stage.hpp.
//
// A description (nn::gpt, nn::mlp, ...) is not yet a model: description.make<T>(engine) makes one.

namespace entrain::nn {

template <class M>
concept has_batch_type = requires { typename M::batch_type; };

template <class M>
concept has_value_type = requires { typename M::value_type; };

template <class M>
concept has_layout = requires(const M& m) {
  { m.layout() } -> std::convertible_to<parameter_layout>;
};

template <class M>
concept has_initialise = has_value_type<M> && requires(M& m, std::span<typename M::value_type> p) { m.initialise(p, std::uint64_t{}); };

// Where a model's parameters lie: host memory unless it says `using space = ...;`.
template <class M>
struct space_of { using type = host_space; };
template <class M>
  requires requires { typename M::space; }
struct space_of<M> { using type = typename M::space; };
template <class M>
inline constexpr bool on_host = space_of<M>::type::host_accessible;

template <class T, class M>
using memory_of = std::conditional_t<on_host<M>, std::span<T>, view<T, typename space_of<M>::type>>;

template <class M>
concept has_loss_and_gradient = has_value_type<M> && has_batch_type<M> &&
    requires(M& m, memory_of<const typename M::value_type, M> p, const typename M::batch_type& batch, memory_of<typename M::value_type, M> g) {
      { m.loss_and_gradient(p, batch, g) } -> std::same_as<loss_sum>;
    };

template <class M>
concept differentiable = has_layout<M> && has_initialise<M> && has_loss_and_gradient<M>;

template <class M>
concept layered = differentiable<M> &&
    requires(M& m, memory_of<const typename M::value_type, M> p, const typename M::batch_type& batch, memory_of<typename M::value_type, M> g, const pass& how) {
      { m.loss_and_gradient(p, batch, g, how, [](std::size_t) {}) } -> std::same_as<loss_sum>;
    };

template <class M>
concept staged = layered<M> && requires(M& m, std::size_t u) {
  { m.units() } -> std::convertible_to<std::size_t>;
  { m.unit_blocks(u) } -> std::convertible_to<std::vector<std::size_t>>;
  { m.unit_cost(u) } -> std::convertible_to<double>;
  m.make_stage(u, u, u);
};

// A description of a model for element type T on an engine.
template <class D, class T, class Engine>
concept description = requires(const D& d, const Engine& engine) {
  { d.template make<T>(engine) } -> differentiable;
};

}  // namespace entrain::nn
