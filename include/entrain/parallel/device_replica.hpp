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
// The engine's kernels are found by argument-dependent look-up where a program includes them: make_update_table(engine, layout),
// apply_update(engine, optimizer, context, table, arrays), sum_of_squares(engine, table, gradient), clip_on_device(engine, table, gradient,
// count, norm), round_parameters and round_parameters_again, and what device_statistics.hpp asks for.

namespace entrain::parallel {

// What an update reads and writes, on the device. Where the model computes in the kept type, `computed` is `kept`.
template <class T, class Kept, std::size_t Fields>
struct update_arrays {
  Kept* kept = nullptr;
  T* computed = nullptr;
  const T* gradient = nullptr;
  std::array<Kept*, Fields> state{};
  const double* gradient_scale = nullptr;  // on the device: a factor beside the context's
  const std::uint8_t* idle = nullptr;      // on the device, of each block of the layout: 1 where it rests
  bool stochastic_rounding = false;        // of `computed`, keyed by the seed and the context's step
  std::uint64_t seed = 0;
};

namespace detail {
template <class T, class Kept, class Engine, class Communicator, class Compressor>
constexpr auto exchange_of_device() {
  if constexpr (exchanges_on_device<T, Engine, Communicator, Compressor>) return std::type_identity<device_exchange<T, Engine, Communicator>>{};
  else if constexpr (may_exchange_directly<T, Kept, Engine, Communicator, Compressor>) return std::type_identity<reaching_exchange<T, Kept, Engine, Communicator, Compressor>>{};
  else if constexpr (encodes_on_device<Kept, Engine, Compressor>) return std::type_identity<encoded_exchange<T, Kept, Engine, Communicator, Compressor>>{};
  else return std::type_identity<staged_exchange<T, Kept, Engine, Communicator, Compressor>>{};
}
}  // namespace detail

template <class Setup>
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
  static constexpr bool is_mixed = !std::same_as<T, kept_type>;
  using exchange_type = typename decltype(detail::exchange_of_device<T, kept_type, engine_type, communicator_type, compressor_type>())::type;
  static constexpr std::size_t field_count = optimizer_type::fields.size();
  static_assert(requires(const engine_type& e, const parameter_layout& l) { make_update_table(e, l); },
                "the kernels of this engine are not in sight: include <entrain/device/device.cuh> in a file that nvcc compiles");

  device_replica(std::size_t accumulate, std::size_t bucket_bytes, model_type& model, const optimizer_type& optimizer, communicator_type& comm, const compressor_type& compressor)
      : model_(model),
        engine_(model.engine()),
        optimizer_(optimizer),
        comm_(comm),
        layout_(model.layout()),
        table_(make_update_table(engine_, layout_)),
        passes_(engine_, accumulate),
        host_(layout_.size()),
        kept_(layout_.size()),
        computed_(is_mixed ? layout_.size() : 0),
        gradient_(layout_.size()),
        exchange_(layout_, engine_, comm, compressor, bucket_bytes, !optimizer_type::elementwise),
        statistics_(layout_.trainable_begin(), engine_, comm),
        metrics_(comm) {
    check_momentum<compressor_type>(optimizer);
    check_same_momentum(optimizer, compressor);
    for (std::size_t f = 0; f < field_count; ++f)
      if (needs(f)) fields_[f] = buffer<kept_type, space>(layout_.size());
  }

  // The options of mixed precision.
  template <class Precision>
  void set_precision(const Precision& p) {
    if constexpr (requires { p.first_scale; }) {
      static_assert(plain_exchange(), "precision::fp16_mixed changes the scale of gradients, so that what a compressor keeps from one step does not fit the next: leave compression out, or pass precision::bf16_mixed");
      scaler_ = loss_scaler(p);
    }
    if constexpr (requires { p.stochastic_rounding; }) stochastic_rounding_ = p.stochastic_rounding;
  }

  const parameter_layout& layout() const { return layout_; }
  // The host's copy; assemble_parameters() fetches it, parameters_changed() sends it.
  std::span<kept_type> parameters() { return host_.span(); }
  void assemble_parameters() {
    settle();
    engine_.copy(kept_.data(), host_.data(), host_.size());
    engine_.wait();
  }
  void parameters_changed() {
    engine_.copy(host_.data(), kept_.data(), host_.size());
    if constexpr (is_mixed) round_parameters(engine_, static_cast<const kept_type*>(kept_.data()), computed_.data(), kept_.size());
    rounding_ = {};
    engine_.wait();
  }
  std::size_t data_rank() const { return std::size_t(comm_.rank()); }
  std::size_t data_ranks() const { return std::size_t(comm_.size()); }

  step_report step(const batch_type& batch, nn::pass how, bool stop) {
    step_report report;
    report.learning_rate = optimizer_.learning_rate_at(how.step);
    report.loss_scale = scaler_.scale(), how.loss_scale = float(report.loss_scale);
    statistics_.settle();
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

  loss_sum loss(const batch_type& batch) { return model_.loss(computed(), batch); }

  parallel::plan plan(std::size_t /*global_batch*/ = 0, std::uint64_t step = 0) const {
    parallel::plan p;
    exchange_.add_to(p, step);
    if (comm_.size() > 1) p.push_back({"all_reduce", "metrics", sizeof(double), step_metrics<communicator_type>::count});
    statistics_.add_to(p);
    return p;
  }
  std::string explain(std::uint64_t step = 0) const { return exchange_.explain(step); }

  // Names and types are those of the host's replicas, so that either continues the other's run.
  template <class Sink>
  void save(Sink&& sink) {
    assemble_parameters();
    if (comm_.rank() == 0)
      for (const auto& block : layout_.blocks()) sink("parameters." + block.name, std::span<const kept_type>(host_.span().subspan(block.offset, block.count)), block.dims);
    for (std::size_t f = 0; f < field_count; ++f) {
      if (!needs(f) || comm_.rank() != 0) continue;
      std::vector<kept_type> values(layout_.size());
      engine_.copy(fields_[f].data(), values.data(), values.size());
      engine_.wait();
      const std::span<const kept_type> kept = sink.keep(std::move(values));
      for (const auto& block : layout_.blocks())
        if (block.kind != block_kind::statistic) sink(field_name(f, block), kept.subspan(block.offset, block.count), block.dims);
    }
    exchange_.save(sink);
    if (comm_.rank() != 0) return;
    scaler_.save(sink);
    if (rounding_[0] > 0) sink("precision.rounding", std::span<const std::uint64_t>(rounding_), {rounding_.size()});
  }
  template <class Source>
  void load(Source&& source) {
    for (const auto& block : layout_.blocks()) source.read("parameters." + block.name, host_.span().subspan(block.offset, block.count));
    parameters_changed();
    std::vector<kept_type> values(layout_.size());
    for (std::size_t f = 0; f < field_count; ++f) {
      if (!needs(f)) continue;
      for (const auto& block : layout_.blocks())
        if (block.kind != block_kind::statistic) source.read(field_name(f, block), std::span<kept_type>(values).subspan(block.offset, block.count));
      engine_.copy(values.data(), fields_[f].data(), values.size());
      engine_.wait();
    }
    exchange_.load(source);
    scaler_.load(source);
    if constexpr (is_mixed)
      if (stochastic_rounding_ && source.contains("precision.rounding")) {
        source.read("precision.rounding", std::span<std::uint64_t>(rounding_));
        round_parameters_again(engine_, static_cast<const kept_type*>(kept_.data()), computed_.data(), layout_.trainable_begin(), layout_.size(), rounding_[1], rounding_[2]);
        engine_.wait();
      }
  }

 private:
  static constexpr bool plain_exchange() {
    if constexpr (compress::chooser<compressor_type>) return false;
    else return compress::is_identity<compressor_type>;
  }
  using table_type = decltype(make_update_table(std::declval<const engine_type&>(), std::declval<const parameter_layout&>()));

  bool needs(std::size_t f) const {
    if constexpr (requires { optimizer_.needs_field(f); }) return optimizer_.needs_field(f);
    else return true;
  }
  std::string field_name(std::size_t f, const parameter_block& block) const { return "optimizer." + std::string(optimizer_type::fields[f]) + "." + block.name; }
  view<const T, space> computed() const {
    if constexpr (is_mixed) return computed_.all();
    else return kept_.all();
  }

  void settle() {
    exchange_.settle();
    statistics_.settle();
  }
  loss_sum backward(const batch_type& batch, const nn::pass& how) {
    return passes_.run(model_, computed(), batch, gradient_.all(), how, [&](std::size_t block) { exchange_.ready(block, gradient_.all()); });
  }

  void update(const nn::pass& how, step_report& report) {
    optim::update_context context{how.step - scaler_.skipped(), report.learning_rate, 1, block_kind::weight};
    const double clip = optim::clip_norm_of(optimizer_), scale = scaler_.scale();
    if (scaler_.enabled() || statistics_.waits()) settle();  // the host waits for the device
    update_arrays<T, kept_type, field_count> arrays;
    arrays.kept = kept_.data(), arrays.gradient = gradient_.data();
    if (scaler_.enabled()) {
      const double squares = sum_of_squares(engine_, table_, arrays.gradient);
      report.skipped = !scaler_.settle(squares);
      if (report.skipped) return;
      context.gradient_scale = gradient_scale(report.loss.count, clip, squares / (scale * scale)) / scale;
    } else if (clip > 0) {
      arrays.gradient_scale = clip_on_device(engine_, table_, arrays.gradient, report.loss.count, clip);
    } else {
      context.gradient_scale = gradient_scale(report.loss.count, 0, 0);
    }
    if constexpr (is_mixed) arrays.computed = computed_.data();
    else arrays.computed = kept_.data();
    for (std::size_t f = 0; f < field_count; ++f) arrays.state[f] = fields_[f].data();
    arrays.idle = idle_on_device(how.idle);
    if (is_mixed && stochastic_rounding_) {
      arrays.stochastic_rounding = true, arrays.seed = how.seed;
      rounding_ = {1, how.seed, context.step};
    }
    statistics_.update(gradient_.all(), kept_.all(), arrays.computed, report.loss.count, scaler_.enabled());
    apply_update(engine_, optimizer_, context, table_, arrays);
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
  optimizer_type optimizer_;
  communicator_type& comm_;
  parameter_layout layout_;
  loss_scaler scaler_;
  bool stochastic_rounding_ = false;
  std::array<std::uint64_t, 3> rounding_{};  // whether the last update rounded by chance, its seed, its step
  table_type table_;
  device_passes<model_type, engine_type> passes_;
  buffer<kept_type> host_;
  buffer<kept_type, space> kept_;
  buffer<T, space> computed_, gradient_;
  exchange_type exchange_;  // after the gradient: what is under way when a step is broken off ends before its memory does
  device_statistics<T, kept_type, engine_type, communicator_type> statistics_;  // likewise
  std::array<buffer<kept_type, space>, field_count> fields_;
  buffer<std::uint8_t, space> idle_;
  step_metrics<communicator_type> metrics_;
};

}  // namespace entrain::parallel
