// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/compression_state.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/device_exchange.hpp>
#include <entrain/parallel/device_passes.hpp>
#include <entrain/parallel/device_state.hpp>
#include <entrain/parallel/device_statistics.hpp>
#include <entrain/parallel/encoded_exchange.hpp>
#include <entrain/parallel/loss_scale.hpp>
#include <entrain/parallel/metrics.hpp>
#include <entrain/parallel/momentum.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/reaching_exchange.hpp>
#include <entrain/parallel/staged_exchange.hpp>
#include <entrain/parallel/update.hpp>

// Data parallelism on an engine whose memory the host cannot read. Parameters, gradients and optimizer state live there; what is kept
// in more bits than the model computes with (precision::bf16_mixed) is updated there, too, and rounded in the same pass. Gradients are
// exchanged through host memory, by any communicator: encoded on the device where the compressor has kernels in sight
// (parallel/encoded_exchange.hpp), else as they are (parallel/staged_exchange.hpp); without a compressor where they lie, if the
// communicator reaches them there, by collectives (parallel/device_exchange.hpp) or by messages (parallel/direct_exchange.hpp).
//
// A step waits for the device once to read the loss (parallel/device_passes.hpp), once for the norm where the scale of gradients must be watched
// (precision::fp16_mixed, parallel/loss_scale.hpp; to clip them the norm stays on the device), and for what it exchanges.
//
// Optimizers are told how many updates there have been, so that a step left out does not count in their corrections of a bias.
//
// Placement = sharded (parallel/sharded.hpp): where the communicator sums in device memory, every rank updates its 1/p of the parameters
// (parallel/device_state.hpp).
//
// The engine's kernels are found by argument-dependent look-up where a program includes them: see device_state.hpp and device_statistics.hpp.

namespace entrain::parallel {

namespace detail {
template <class T, class Kept, class Engine, class Communicator, class Compressor, class Placement>
constexpr auto exchange_of_device() {
  if constexpr (std::same_as<Placement, sharded>) return std::type_identity<device_exchange<T, Engine, Communicator, sharded>>{};
  else if constexpr (exchanges_on_device<T, Engine, Communicator, Compressor>) return std::type_identity<device_exchange<T, Engine, Communicator>>{};
  else if constexpr (may_exchange_directly<T, Kept, Engine, Communicator, Compressor>) return std::type_identity<reaching_exchange<T, Kept, Engine, Communicator, Compressor>>{};
  else if constexpr (encodes_on_device<Kept, Engine, Compressor>) return std::type_identity<encoded_exchange<T, Kept, Engine, Communicator, Compressor>>{};
  else return std::type_identity<staged_exchange<T, Kept, Engine, Communicator, Compressor>>{};
}
}  // namespace detail

template <class Setup, class Placement = replicated>
class device_replica {
 public:
  using model_type = typename Setup::model;
  using optimizer_type = typename Setup::optimizer;
  using communicator_type = typename Setup::communicator;
  using compressor_type = typename Setup::compressor;
  using T = typename Setup::value_type;
  using kept_type = typename Setup::kept_type;
  using batch_type = typename model_type::batch_type;
  using engine_type = std::remove_cvref_t<decltype(std::declval<model_type&>().engine())>;
  using space = typename engine_type::space;
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  static_assert(requires(const engine_type& e, const parameter_layout& l) { make_update_table(e, l, std::size_t(0), std::size_t(0)); },
                "the kernels of this engine are not in sight: include <entrain/device/device.cuh> in a file that nvcc compiles");
  using exchange_type = typename decltype(detail::exchange_of_device<T, kept_type, engine_type, communicator_type, compressor_type, Placement>())::type;
  using state_type = device_state<T, kept_type, engine_type, communicator_type, optimizer_type, Placement>;

  device_replica(std::size_t accumulate, std::size_t bucket_bytes, model_type& model, const optimizer_type& optimizer, communicator_type& comm, const compressor_type& compressor)
      : model_(model),
        engine_(model.engine()),
        comm_(comm),
        layout_(model.layout()),
        passes_(engine_, accumulate),
        state_(layout_, engine_, comm, optimizer, is_sharded ? cut_for_shards<T>(layout_, comm.size(), bucket_bytes) : std::vector<bucket>()),
        gradient_(state_.arena_size()),
        exchange_(layout_, engine_, comm, compressor, bucket_bytes, !optimizer_type::elementwise),
        statistics_(layout_.trainable_begin(), engine_, comm),
        metrics_(comm) {
    check_momentum<compressor_type>(optimizer);
    check_same_momentum(optimizer, compressor);
  }

  // The options of mixed precision.
  template <class Precision>
  void set_precision(const Precision& p) {
    if constexpr (requires { p.first_scale; }) {
      static_assert(plain_exchange(), "precision::fp16_mixed changes the scale of gradients, so that what a compressor keeps from one step does not fit the next: leave compression out, or pass precision::bf16_mixed");
      scaler_ = loss_scaler(p);
    }
    if constexpr (requires { p.stochastic_rounding; }) state_.round_by_chance(p.stochastic_rounding);
  }

  const parameter_layout& layout() const { return layout_; }
  // The host's copy; assemble_parameters() fetches it (on all ranks), parameters_changed() sends it.
  std::span<kept_type> parameters() { return state_.parameters(); }
  void assemble_parameters() {
    settle();
    state_.assemble();
  }
  void parameters_changed() { state_.changed(); }
  std::size_t data_rank() const { return std::size_t(comm_.rank()); }
  std::size_t data_ranks() const { return std::size_t(comm_.size()); }

  step_report step(const batch_type& batch, nn::pass how, bool stop) {
    step_report report;
    report.learning_rate = state_.optimizer().learning_rate_at(how.step);
    report.loss_scale = scaler_.scale(), how.loss_scale = float(report.loss_scale);
    exchange_.begin_step({.seed = how.seed, .step = how.step, .rank = std::uint32_t(comm_.rank()), .learning_rate = report.learning_rate});
    if constexpr (requires { exchange_.idle(); }) how.idle = exchange_.idle();
    {
      const timed computing(report.compute_seconds);
      metrics_.start(backward(batch, how), stop);
    }
    {
      const timed waiting(report.exposed_seconds);
      metrics_.wait();
      report.loss = metrics_.loss(), report.stop = metrics_.stop();
      exchange_.finish(gradient_.all(), double(report.loss.count));
    }
    const timed computing(report.compute_seconds);
    if (report.loss.count > 0) update(how, report);
    return report;
  }

  loss_sum loss(const batch_type& batch) {
    settle();
    return model_.loss(state_.computed(), batch);
  }

  parallel::plan plan(std::size_t /*global_batch*/ = 0, std::uint64_t step = 0) const {
    parallel::plan p;
    exchange_.add_to(p, step);
    if (comm_.size() > 1) p.push_back({"all_reduce", "metrics", sizeof(double), step_metrics<communicator_type>::count});
    statistics_.add_to(p);
    state_.add_to(p, scaler_.enabled());
    return p;
  }
  std::string explain(std::uint64_t step = 0) const { return exchange_.explain(step); }

  template <class Sink>
  void save(Sink&& sink) {
    settle();
    state_.save(sink);
    exchange_.save(sink);
    if (comm_.rank() == 0) scaler_.save(sink);
  }
  template <class Source>
  void load(Source&& source) {
    state_.load(source);
    exchange_.load(source);
    scaler_.load(source);
  }

 private:
  static constexpr bool plain_exchange() {
    if constexpr (compress::chooser<compressor_type>) return false;
    else return compress::is_identity<compressor_type>;
  }
  void settle() {
    exchange_.settle();
    statistics_.settle();
    state_.settle();
  }
  loss_sum backward(const batch_type& batch, const nn::pass& how) {
    const auto ready = [&](std::size_t block) { exchange_.ready(block, gradient_.all()); };
    // Before the host waits for the device, which may wait for what the last step gathers.
    const auto before_waiting = [&] { statistics_.settle(), state_.settle(); };
    return passes_.run(model_, state_.computed(), batch, gradient_.subview(0, layout_.size()), how, ready, before_waiting);
  }

  void update(const nn::pass& how, step_report& report) {
    optim::update_context context{how.step - scaler_.skipped(), report.learning_rate, 1, block_kind::weight};
    const double clip = optim::clip_norm_of(state_.optimizer()), scale = scaler_.scale();
    if (scaler_.enabled() || statistics_.waits()) settle();  // the host waits for the device
    typename state_type::arrays arrays;
    arrays.gradient = gradient_.data(), arrays.seed = how.seed, arrays.idle = idle_on_device(how.idle);
    if (scaler_.enabled()) {
      const double squares = state_.squares_on_host(arrays.gradient);
      report.skipped = !scaler_.settle(squares);
      if (report.skipped) return;
      context.gradient_scale = gradient_scale(report.loss.count, clip, squares / (scale * scale)) / scale;
    } else if (clip > 0) {
      arrays.gradient_scale = state_.clip_scale(arrays.gradient, report.loss.count, clip);
    } else {
      context.gradient_scale = gradient_scale(report.loss.count, 0, 0);
    }
    statistics_.update(gradient_.all(), state_.observed(), state_.computed_data(), report.loss.count, scaler_.enabled());
    state_.update(context, arrays);
  }

  // Null where no block rests.
  const std::uint8_t* idle_on_device(std::span<const std::uint8_t> idle) {
    if (idle.empty()) return nullptr;
    if (idle_.size() == 0) idle_ = buffer<std::uint8_t, space>(idle.size());
    engine_.copy(idle.data(), idle_.data(), idle.size());
    return idle_.data();
  }

  model_type& model_;
  engine_type engine_;
  communicator_type& comm_;
  parameter_layout layout_;
  loss_scaler scaler_;
  device_passes<model_type, engine_type> passes_;
  state_type state_;
  buffer<T, space> gradient_;
  exchange_type exchange_;  // after the gradient: what is under way when a step is broken off ends before its memory does
  device_statistics<T, kept_type, engine_type, communicator_type> statistics_;  // likewise
  buffer<std::uint8_t, space> idle_;
  step_metrics<communicator_type> metrics_;
};

}  // namespace entrain::parallel
