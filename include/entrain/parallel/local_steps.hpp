// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/nn/pass.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/backward.hpp>
#include <entrain/parallel/compression_state.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/exchange.hpp>
#include <entrain/parallel/local_steps_check.hpp>
#include <entrain/parallel/metrics.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/update.hpp>

// The replica of optimizers that own their communication (optim::zero_one_adam), behind parallel::data. A step is one of three kinds:
//
//   average       the gradient is summed densely while the backward pass runs; all ranks take the same step
//   synchronise   every rank takes a step alone; then what ranks have moved since the last synchronisation is summed, compressed
//   local         every rank takes a step alone, and nothing travels but the metrics (32 bytes, which carry the count to divide by)
//
// A rank keeps its share of what is summed: of the momentum, of the way since the last synchronisation, and of batch norm's observations
// since then. So whatever batches ranks have, sums over ranks are what counts, and a checkpoint is resumed by any number of ranks.
//
// parameters() are those of the last synchronisation: whole, and the same bits on every rank. evaluate() uses them, a checkpoint has them
// as its parameters, and what local steps have moved since then (at most the optimizer's longest interval) is in the shares, which are
// saved beside them. The parameters that a rank computes with between synchronisations are made from the two at the beginning of a step.

namespace entrain::parallel {

template <class Setup>
class local_steps_replica {
 public:
  using model_type = typename Setup::model;
  using optimizer_type = typename Setup::optimizer;
  using communicator_type = typename Setup::communicator;
  using compressor_type = typename Setup::compressor;
  using T = typename Setup::value_type;
  using batch_type = typename model_type::batch_type;
  static constexpr bool whole_after_step = true;  // parameters() are

  local_steps_replica(std::size_t accumulate, std::size_t bucket_bytes, model_type& model, const optimizer_type& optimizer, communicator_type& comm, const compressor_type& compressor)
      : accumulate_(accumulate),
        model_(model),
        optimizer_(checked(optimizer)),
        comm_(comm),
        layout_(model.layout()),
        gradients_(layout_, comm, compress::none{}, bucket_bytes),
        moves_(layout_, comm, compressor, bucket_bytes),
        parameters_(size()),
        working_(size()),
        gradient_(size()),
        momentum_(size()),
        variance_(size()),
        moved_(size()),
        metrics_(comm) {}

  const parameter_layout& layout() const { return layout_; }
  std::span<T> parameters() { return parameters_.span().first(layout_.size()); }
  void assemble_parameters() {}  // whole, and those of the last synchronisation
  // Between synchronisations what ranks have moved alone would be added to parameters that come from elsewhere.
  void require_settable(std::uint64_t steps) const {
    if (steps > 0 && !optimizer_.synchronises(steps - 1))
      throw usage_error("trainer::set_parameters", "ranks have taken local steps since they synchronised last",
                        "new parameters before the first step, or after a step that synchronises (optimizer.synchronises(step))",
                        "after step " + std::to_string(steps - 1));
  }
  std::size_t data_rank() const { return std::size_t(comm_.rank()); }
  std::size_t data_ranks() const { return std::size_t(comm_.size()); }

  step_report step(const batch_type& batch, nn::pass how, bool stop) {
    step_report report;
    report.learning_rate = optimizer_.learning_rate_at(how.step);
    const bool averages = optimizer_.averages_gradient(how.step);
    const compress::context where{.seed = how.seed, .step = how.step, .rank = std::uint32_t(comm_.rank())};
    if (averages) gradients_.begin_step(where);
    {
      const timed computing(report.compute_seconds);
      metrics_.start(backward(batch, how, averages), stop);
    }
    {
      const timed waiting(report.exposed_seconds);
      metrics_.wait();
    }
    report.loss = metrics_.loss();
    report.stop = metrics_.stop();
    const double scale = report.loss.count == 0 ? 0 : 1 / double(report.loss.count);
    const stretch since = since_synchronisation(how.step);
    observe(scale);
    if (averages) {
      average(how.step, scale, since, report);
    } else {
      advance(how.step, scale, report);
      if (optimizer_.synchronises(how.step)) synchronise(where, since, report);
    }
    if (optimizer_.synchronises(how.step)) settle_statistics(since, report);
    return report;
  }

  loss_sum loss(const batch_type& batch) { return loss_only(model_, std::span<const T>(parameters()), batch, gradient_.span().first(layout_.size())); }

  parallel::plan plan(std::size_t /*global_batch*/ = 0, std::uint64_t step = 0) const {
    const bool averages = optimizer_.averages_gradient(step), synchronises = optimizer_.synchronises(step);
    parallel::plan p;
    if (averages) gradients_.add_to(p, step);
    if (comm_.size() > 1) p.push_back({"all_reduce", "metrics", sizeof(double), step_metrics<communicator_type>::count});
    if (synchronises && !averages) {
      const std::size_t first = p.size();
      moves_.add_to(p, step);
      for (std::size_t i = first; i < p.size(); ++i) p[i].phase = "parameters";
    }
    if (synchronises && comm_.size() > 1 && layout_.trainable_begin() > 0) p.push_back({"all_reduce", "statistics", sizeof(T), layout_.trainable_begin()});
    return p;
  }

  std::string explain(std::uint64_t step = 0) const {
    if (optimizer_.averages_gradient(step)) return "the gradient is averaged, and with it the parameters\n" + gradients_.explain(step);
    if (optimizer_.synchronises(step)) return "what ranks have moved since the last synchronisation is averaged\n" + moves_.explain(step);
    std::uint64_t next = step;
    while (!optimizer_.synchronises(next)) ++next;
    return "a local step: nothing but the metrics travels until step " + std::to_string(next) + "\n";
  }

  std::size_t optimizer_bytes() const { return 4 * (size() - layout_.trainable_begin()) * sizeof(T); }

  template <class Sink>
  void save(Sink&& sink) {
    for (const auto& block : layout_.blocks()) {
      if (comm_.rank() == 0) {
        sink("parameters." + block.name, std::span<const T>(of(block, parameters_)), block.dims);
        if (block.kind != block_kind::statistic) sink(field_name<optimizer_type>(1, block.name), std::span<const T>(of(block, variance_)), block.dims);
      }
      const row_saver<communicator_type, std::remove_reference_t<Sink>> rows{comm_, sink, "shares." + block.name};
      rows("first_moment", of(block, momentum_));
      rows("moved", of(block, moved_));
    }
    save_compression<compressor_type>(moves_, layout_, comm_, sink);
  }

  template <class Source>
  void load(Source&& source) {
    for (const auto& block : layout_.blocks()) {
      source.read("parameters." + block.name, of(block, parameters_));
      if (block.kind != block_kind::statistic) source.read(field_name<optimizer_type>(1, block.name), of(block, variance_));
      const row_loader<communicator_type, std::remove_reference_t<Source>> rows{comm_, source, "shares." + block.name};
      rows("first_moment", of(block, momentum_));
      rows("moved", of(block, moved_));
    }
    load_compression<compressor_type>(moves_, layout_, comm_, source);
  }

 private:
  // The steps since the last synchronisation, up to one of them: their number, and the sums of their learning rates as they are given and
  // as they are applied.
  struct stretch {
    std::uint64_t steps = 0;
    double rates = 0, applied = 0;
  };
  stretch since_synchronisation(std::uint64_t step) const {
    std::uint64_t first = step;
    while (first > 0 && !optimizer_.synchronises(first - 1)) --first;
    stretch out;
    for (std::uint64_t at = first; at <= step; ++at, ++out.steps) {
      const double rate = optimizer_.learning_rate_at(at);
      out.rates += rate, out.applied += rate * optimizer_.rate_factor(at);
    }
    return out;
  }

  // What this rank computes with: the parameters of the last synchronisation and the way that it has gone alone since then.
  std::span<const T> own_parameters(std::uint64_t step) {
    if (step == 0 || optimizer_.synchronises(step - 1)) return parameters();
    const stretch since = since_synchronisation(step - 1);
    std::copy_n(parameters_.data(), layout_.trainable_begin(), working_.data());
    each_trained([&](const parameter_block& b) {
      optimizer_.move(step - 1, since.rates, b.kind, double(comm_.size()), at(b, parameters_), at(b, moved_), at(b, variance_), working_.data() + b.offset, b.count);
    });
    return working_.span().first(layout_.size());
  }

  loss_sum backward(const batch_type& batch, nn::pass how, bool averages) {
    const std::span<const T> own = own_parameters(how.step);
    const std::span<T> gradient = gradient_.span().first(layout_.size());
    const auto pass = [&](const batch_type& part_of_batch, bool first, bool last) {
      how.accumulate = !first;
      return backward_pass(model_, layout_, own, part_of_batch, gradient, how, [&](std::size_t block) {
        if (averages && last) gradients_.ready(block, gradient_.span());
      });
    };
    if constexpr (sliceable<batch_type>) {
      if (accumulate_ > 1) {
        loss_sum total;
        const std::size_t first = how.first_sample;
        for (std::size_t i = 0; i < accumulate_; ++i) {
          const part piece = nth_part(batch.samples, i, accumulate_);
          slice(batch, piece.first, piece.count, micro_batch_);
          how.first_sample = first + piece.first;
          total += pass(micro_batch_, i == 0, i + 1 == accumulate_);
        }
        return total;
      }
    }
    return pass(batch, true, true);
  }

  void average(std::uint64_t step, double scale, const stretch& since, step_report& report) {
    finish(gradients_, gradient_, report);
    const timed computing(report.compute_seconds);
    const double ranks = double(comm_.size());
    each_trained([&](const parameter_block& b) {
      optimizer_.average(scale, ranks, at(b, gradient_), momentum_.data() + b.offset, variance_.data() + b.offset, b.count);
      T* const x = parameters_.data() + b.offset;
      optimizer_.move(step, since.rates, b.kind, since.applied * ranks, x, at(b, momentum_), at(b, variance_), x, b.count);
    });
  }

  void advance(std::uint64_t step, double scale, step_report& report) {
    const timed computing(report.compute_seconds);
    const double rate = report.learning_rate * optimizer_.rate_factor(step);
    each_trained([&](const parameter_block& b) { optimizer_.advance(scale, rate, at(b, gradient_), momentum_.data() + b.offset, moved_.data() + b.offset, b.count); });
  }

  void synchronise(const compress::context& where, const stretch& since, step_report& report) {
    moves_.begin_step(where);
    for (std::size_t i = layout_.blocks().size(); i-- > 0;) moves_.ready(i, moved_.span());
    finish(moves_, moved_, report);
    const timed computing(report.compute_seconds);
    const T share = T(since.applied > 0 ? 1 / (since.applied * double(comm_.size())) : 0);
    each_trained([&](const parameter_block& b) {
      T* const x = parameters_.data() + b.offset;
      optimizer_.move(where.step, since.rates, b.kind, 1, x, at(b, moved_), at(b, variance_), x, b.count);
      T *const m = momentum_.data() + b.offset, *const u = moved_.data() + b.offset;
      const T* const v = at(b, variance_);
      for (std::size_t i = 0; i < b.count; ++i) m[i] = v[i] > T(0) ? share * u[i] : T(0), u[i] = T(0);
    });
  }

  // This rank's share of batch norm's running values: what is observed, decayed as they are. A step without samples observes them again.
  void observe(double scale) {
    const double old = 1 / double(comm_.size());
    for (std::size_t i = 0; i < layout_.trainable_begin(); ++i)
      moved_[i] = T((1 - statistic_momentum) * double(moved_[i]) + statistic_momentum * (scale > 0 ? double(gradient_[i]) * scale : double(parameters_[i]) * old));
  }
  void settle_statistics(const stretch& since, step_report& report) {
    const std::size_t n = layout_.trainable_begin();
    if (n == 0) return;
    const timed waiting(report.exposed_seconds);
    if (comm_.size() > 1) comm::all_reduce(comm_, view<T>(moved_.data(), n), comm::sum{});
    const double keep = std::pow(1 - statistic_momentum, double(since.steps));
    for (std::size_t i = 0; i < n; ++i) parameters_[i] = T(keep * double(parameters_[i]) + double(moved_[i])), moved_[i] = T(0);
  }

  // Waits until `values` are the sums over ranks.
  template <class Exchange>
  void finish(Exchange& exchange, buffer<T>& values, step_report& report) {
    const timed waiting(report.exposed_seconds);
    exchange.finish_stages(values.span(), 1);
    for (std::size_t b = 0; b < exchange.buckets().size(); ++b) exchange.wait(b, values.span());
  }

  template <class F>
  void each_trained(F&& f) const {
    for (const auto& block : layout_.blocks())
      if (block.kind != block_kind::statistic) f(block);
  }
  static const T* at(const parameter_block& b, const buffer<T>& values) { return values.data() + b.offset; }
  static std::span<T> of(const parameter_block& b, buffer<T>& values) { return values.span().subspan(b.offset, b.count); }
  std::size_t size() const { return std::max(gradients_.arena_size(), moves_.arena_size()); }
  static const optimizer_type& checked(const optimizer_type& o) { return o.check(), o; }

  std::size_t accumulate_;
  model_type& model_;
  optimizer_type optimizer_;
  communicator_type& comm_;
  parameter_layout layout_;
  exchange<T, communicator_type, compress::none, replicated> gradients_;
  exchange<T, communicator_type, compressor_type, replicated> moves_;
  buffer<T> parameters_, working_, gradient_;
  buffer<T> momentum_, variance_, moved_;  // shares of the first and the last
  step_metrics<communicator_type> metrics_;
  batch_type micro_batch_{};
};

}  // namespace entrain::parallel
