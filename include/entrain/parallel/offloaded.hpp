// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/nn/pass.hpp>
#include <entrain/optim/concepts.hpp>

// A model on an engine with memory of its own, shown as one of host memory: passes run on the device, parameters and gradients come and go,
// in the type that is kept. So every replica of the host works for it: sharded optimizer state, reproducible sums, optimizers that own
// their communication; optimizer and exchange then run on the processor (Ren et al., "ZeRO-Offload", USENIX ATC 2021).
//
// Cost beyond the replica's: parameters once to the device and gradients once to the host in every step, in the type that the model computes
// in, with the host waiting: nothing overlaps. 124 M parameters in bfloat16: 2 x 248 MB, 2 x 10 ms at 25 GB/s. Memory on the device:
// parameters and gradients; in pinned host memory the larger of the two.

namespace entrain::parallel {

template <class Model, class Kept>
class offloaded_model {
  using engine_type = std::remove_cvref_t<decltype(std::declval<Model&>().engine())>;
  using device_space = typename engine_type::space;
  using T = typename Model::value_type;

 public:
  using slot_type = slot::model;
  using value_type = Kept;
  using batch_type = typename Model::batch_type;

  explicit offloaded_model(Model& model)
      : model_(model), layout_(model.layout()), moved_(layout_.size()), parameters_(layout_.size()), gradient_(layout_.size()) {}

  const parameter_layout& layout() const { return layout_; }
  void initialise(std::span<Kept> parameters, std::uint64_t seed) const { model_.initialise(parameters, seed); }

  // Adds the gradient to `gradient`, as a model without passes does.
  loss_sum loss_and_gradient(std::span<const Kept> parameters, const batch_type& batch, std::span<Kept> gradient) {
    nn::pass how;
    how.accumulate = false;
    const loss_sum loss = run(parameters, batch, how);
    fetch([&](std::size_t i) { gradient[i] += Kept(moved_[i]); }, how);
    return loss;
  }
  // Passes with `accumulate` follow, on the same parameters and gradient, one without.
  template <class Ready>
  loss_sum loss_and_gradient(std::span<const Kept> parameters, const batch_type& batch, std::span<Kept> gradient, const nn::pass& how, Ready&& ready) {
    const loss_sum loss = run(parameters, batch, how);
    fetch([&](std::size_t i) { gradient[i] = Kept(moved_[i]); }, how);
    for (std::size_t block = layout_.blocks().size(); block-- > 0;) ready(block);
    return loss;
  }
  loss_sum loss(std::span<const Kept> parameters, const batch_type& batch) {
    send(parameters);
    return model_.loss(parameters_.all(), batch);
  }

 private:
  loss_sum run(std::span<const Kept> parameters, const batch_type& batch, const nn::pass& how) {
    if (!how.accumulate) send(parameters);
    return model_.loss_and_gradient(parameters_.all(), batch, gradient_.all(), how, [](std::size_t) {});
  }
  void send(std::span<const Kept> parameters) {
    for (std::size_t i = 0; i < layout_.size(); ++i) moved_[i] = T(parameters[i]);
    model_.engine().copy(static_cast<const T*>(moved_.data()), parameters_.data(), layout_.size());
    model_.engine().wait();  // the same memory takes the gradient
  }
  template <class Take>
  void fetch(Take&& take, const nn::pass& how) {
    model_.engine().copy(static_cast<const T*>(gradient_.data()), moved_.data(), layout_.size());
    model_.engine().wait();
    for (std::size_t b = 0; b < layout_.blocks().size(); ++b) {
      if (!how.idle.empty() && how.idle[b]) continue;
      const auto& block = layout_[b];
      for (std::size_t i = block.offset; i < block.offset + block.count; ++i) take(i);
    }
  }

  Model& model_;
  parameter_layout layout_;
  buffer<T, typename engine_type::staging_space> moved_;
  buffer<T, device_space> parameters_, gradient_;
};

template <class Setup>
struct kept_type_of { using type = typename Setup::value_type; };
template <class Setup>
  requires requires { typename Setup::kept_type; }
struct kept_type_of<Setup> { using type = typename Setup::kept_type; };

// Replicas of the host keep parameters in the type that the model computes in.
template <class Setup>
constexpr bool check_precision() {
  static_assert(!nn::on_host<typename Setup::model> || std::same_as<typename Setup::value_type, typename kept_type_of<Setup>::type>,
                "mixed precision needs an engine that has it: pass engine::cuda{}, or precision::fp32 on the host");
  return true;
}

// Whether the device has the optimizer's update; where its kernels are not in sight, parallel/device_replica.hpp says so.
template <class Setup>
constexpr bool updates_on_device() {
  using optimizer = typename Setup::optimizer;
  if constexpr (nn::on_host<typename Setup::model> || optim::owns_communication<optimizer>) return false;
  else if constexpr (requires(typename Setup::model& m, const optimizer& o) { has_update(m.engine(), o); })
    return decltype(has_update(std::declval<typename Setup::model&>().engine(), std::declval<const optimizer&>()))::value;
  else return true;
}

// What a replica of the host is made for then.
template <class Setup>
struct offloaded_setup : Setup {
  using model = offloaded_model<typename Setup::model, typename Setup::kept_type>;
  using value_type = typename Setup::kept_type;
};

// Holds the model for the replica that is a base beside it, and knows which options of mixed precision that leaves.
template <class Setup>
struct offloaded_base {
  typename offloaded_setup<Setup>::model offloaded;
  explicit offloaded_base(typename Setup::model& model) : offloaded(model) {}

  // Errors: usage_error for rounding by chance, which the device's own update does.
  template <class Precision>
  void set_precision(const Precision& p) {
    static_assert(!requires { p.first_scale; }, "precision::fp16_mixed needs parallel::data and an optimizer that runs on the device: use precision::bf16_mixed");
    if constexpr (requires { p.stochastic_rounding; })
      if (p.stochastic_rounding) throw usage_error("precision", "parameters that the host keeps are rounded to nearest on their way to the device", "stochastic_rounding = false", "true");
  }
};

}  // namespace entrain::parallel
