// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/backward.hpp>
#include <entrain/parallel/compression_state.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/exchange.hpp>
#include <entrain/parallel/metrics.hpp>
#include <entrain/parallel/momentum.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/update.hpp>

// The replica of data parallelism: every rank holds the whole model and a part of the batch; gradients are summed while
// the backward pass is still running. With Placement = replicated every rank updates everything (parallel/data.hpp); with
// Placement = sharded it owns 1/p of every bucket's optimizer state, updates that, and the updated parameters are gathered
// (parallel/sharded.hpp). The order of summation is the communicator's and the same in both; with fixed_exchange it is that of a
// fixed tree (parallel/reproducible.hpp).

namespace entrain::parallel {

template <class Setup, class Placement>
using exchange_of = exchange<typename Setup::value_type, typename Setup::communicator, typename Setup::compressor, Placement>;

template <class Setup, class Placement, class Exchange = exchange_of<Setup, Placement>>
class synchronous_replica {
 public:
  using model_type = typename Setup::model;
  using optimizer_type = typename Setup::optimizer;
  using communicator_type = typename Setup::communicator;
  using compressor_type = typename Setup::compressor;
  using T = typename Setup::value_type;
  using batch_type = typename model_type::batch_type;
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  static constexpr bool whole_after_step = true;  // every rank then holds all parameters, the same on each

  static constexpr bool fixed_shards = Exchange::fixed_shards;

  // make_exchange(layout) -> Exchange
  synchronous_replica(std::size_t accumulate, model_type& model, const optimizer_type& optimizer, communicator_type& comm, auto make_exchange)
      : accumulate_(accumulate),
        model_(model),
        comm_(comm),
        layout_(model.layout()),
        exchange_(make_exchange(layout_)),
        state_(optimizer, local_size()),
        parameters_(exchange_.arena_size()),
        gradient_(exchange_.arena_size()),
        metrics_(comm),
        gathers_(is_sharded ? exchange_.buckets().size() : 0) {
    check_momentum<compressor_type>(optimizer);
    if constexpr (requires { exchange_.compression(); }) check_same_momentum(optimizer, exchange_.compression());
  }

  const parameter_layout& layout() const { return layout_; }
  std::span<T> parameters() { return parameters_.span().first(layout_.size()); }
  void assemble_parameters() {}  // whole after every step
  std::size_t data_rank() const { return std::size_t(comm_.rank()); }
  std::size_t data_ranks() const { return std::size_t(comm_.size()); }

  step_report step(const batch_type& batch, nn::pass how, bool stop) {
    step_report report;
    report.learning_rate = state_.optimizer().learning_rate_at(how.step);
    exchange_.begin_step({.seed = how.seed, .step = how.step, .rank = std::uint32_t(comm_.rank()), .learning_rate = report.learning_rate});
    how.idle = exchange_.idle();
    {
      const timed computing(report.compute_seconds);
      metrics_.start(backward(batch, how), stop);
      start_statistics();
    }
    {
      const timed waiting(report.exposed_seconds);
      metrics_.wait();
    }
    report.loss = metrics_.loss();
    report.stop = metrics_.stop();
    finish(how.step, report);
    return report;
  }

  loss_sum loss(const batch_type& batch) { return loss_only(model_, std::span<const T>(parameters()), batch, gradient_.span().first(layout_.size())); }

  parallel::plan plan(std::size_t /*global_batch*/ = 0, std::uint64_t step = 0) const {
    parallel::plan p;
    exchange_.add_to(p, step);
    if (comm_.size() > 1) p.push_back({"all_reduce", "metrics", sizeof(double), step_metrics<communicator_type>::count});
    if (layout_.trainable_begin() > 0 && (fixed_shards || comm_.size() > 1))
      p.push_back({fixed_shards ? "reproducible_all_reduce" : "all_reduce", "statistics", sizeof(T), layout_.trainable_begin()});
    if constexpr (is_sharded) {
      if (optim::clip_norm_of(state_.optimizer()) > 0) p.push_back({"all_reduce", "norm", sizeof(double), 1});
      for (std::size_t b = 0; b < exchange_.buckets().size(); ++b) {
        const auto [begin, end] = exchange_.own_range(b);
        p.push_back({"all_gather", "parameters", sizeof(T), end - begin});
      }
    }
    return p;
  }

  std::string explain(std::uint64_t step = 0) const { return exchange_.explain(step); }

  std::size_t optimizer_bytes() const {
    std::size_t fields = 0;
    for (std::size_t f = 0; f < state_.field_count; ++f) fields += state_.needs(f);
    return fields * local_size() * sizeof(T);
  }

  template <class Sink>
  void save(Sink&& sink) {
    if (comm_.rank() == 0)
      for (const auto& block : layout_.blocks()) sink("parameters." + block.name, std::span<const T>(parameters_.span().subspan(block.offset, block.count)), block.dims);
    for (std::size_t f = 0; f < state_.field_count; ++f)
      if (state_.needs(f)) save_field(f, sink);
    save_compression<compressor_type>(exchange_, layout_, comm_, sink);
  }

  template <class Source>
  void load(Source&& source) {
    for (const auto& block : layout_.blocks()) source.read("parameters." + block.name, parameters_.span().subspan(block.offset, block.count));
    for (std::size_t f = 0; f < state_.field_count; ++f)
      if (state_.needs(f)) load_field(f, source);
    load_compression<compressor_type>(exchange_, layout_, comm_, source);
  }

 private:
  loss_sum backward(const batch_type& batch, const nn::pass& how) {
    if constexpr (fixed_shards) {
      const std::size_t shards = exchange_.shards_here();
      if constexpr (sliceable<batch_type>) {
        if (batch.samples % shards != 0)
          throw usage_error("parallel::reproducible", "the batch does not divide into its shards", entrain::detail::text("a multiple of ", shards, " samples a rank"),
                            entrain::detail::text(batch.samples));
        if (shards > 1) return backward_in_parts(batch, how, shards);
      } else if (shards > 1) {
        throw usage_error("parallel::reproducible", "a batch that cannot be cut (see slice() in core/batch.hpp) cannot have several shards a rank");
      }
    } else if constexpr (sliceable<batch_type>) {
      if (accumulate_ > 1) return backward_in_parts(batch, how, accumulate_);
    }
    return backward_once(batch, how, true, true);
  }

  loss_sum backward_in_parts(const batch_type& batch, nn::pass how, std::size_t parts) requires sliceable<batch_type> {
    loss_sum total;
    const std::size_t first = how.first_sample;
    constexpr bool apart = fixed_shards;  // each part's gradient by itself
    for (std::size_t i = 0; i < parts; ++i) {
      const part piece = nth_part(batch.samples, i, parts);
      slice(batch, piece.first, piece.count, micro_batch_);
      how.first_sample = first + piece.first;
      total += backward_once(micro_batch_, how, apart || i == 0, i + 1 == parts);
      if constexpr (apart) {
        if (i + 1 < parts) exchange_.add_shard(gradient_.span());
      }
    }
    return total;
  }

  loss_sum backward_once(const batch_type& batch, nn::pass how, bool first, bool last) {
    how.accumulate = !first;
    return backward_pass(model_, layout_, std::span<const T>(parameters()), batch, gradient_.span().first(layout_.size()), how, [&](std::size_t block) {
      if (last) exchange_.ready(block, gradient_.span());
    });
  }

  void start_statistics() {
    if (layout_.trainable_begin() == 0) return;
    if constexpr (fixed_shards) {
      exchange_.start_statistics(gradient_.span());
    } else if (comm_.size() > 1) {
      const view<T> observed(gradient_.data(), layout_.trainable_begin());
      statistics_ = comm::start_all_reduce(comm_, view<const T>(observed), observed, comm::sum{});
    }
  }

  // Buckets are updated one by one as their exchanges end; where the global norm is needed, after the last one.
  void finish(std::uint64_t step, step_report& report) {
    const double clip = optim::clip_norm_of(state_.optimizer());
    const std::size_t buckets = exchange_.buckets().size();
    const bool empty = report.loss.count == 0;
    {
      const timed waiting(report.exposed_seconds);
      exchange_.finish_stages(gradient_.span(), double(report.loss.count));
    }
    optim::update_context context{step, report.learning_rate, 0, block_kind::weight};
    if (clip > 0) {
      double squares = 0;
      for (std::size_t b = 0; b < buckets; ++b) squares += sum_of_squares(view<const T>(wait(b, report).values));
      context.gradient_scale = empty ? 0 : gradient_scale(report.loss.count, clip, global_squares(squares, report));
    } else {
      context.gradient_scale = empty ? 0 : gradient_scale(report.loss.count, 0, 0);
    }
    for (std::size_t b = 0; b < buckets; ++b) {
      const auto gradient = clip > 0 ? settled(b) : wait(b, report);
      const timed computing(report.compute_seconds);
      if (!empty) state_.apply(layout_, context, gradient, parameters_.span(), local_offset(b), exchange_.idle());
      start_gather(b);
      exchange_.progress();
    }
    const timed waiting(report.exposed_seconds);
    if constexpr (fixed_shards) {
      if (layout_.trainable_begin() > 0) exchange_.wait_statistics();
    }
    statistics_.wait();
    const std::size_t observed = layout_.trainable_begin();
    if (!empty) update_statistics<T>(gradient_.span().first(observed), parameters_.span().first(observed), report.loss.count);
    for (auto& g : gathers_) g.wait();
  }

  placed<T, Placement> wait(std::size_t b, step_report& report) {
    const timed waiting(report.exposed_seconds);
    return exchange_.wait(b, gradient_.span());
  }
  placed<T, Placement> settled(std::size_t b) {
    const auto [begin, end] = exchange_.own_range(b);
    return {view<T>(gradient_.data() + begin, end - begin), begin};
  }

  double global_squares(double local, step_report& report) {
    if constexpr (is_sharded) {
      const timed waiting(report.exposed_seconds);
      comm::all_reduce(comm_, view<double>(&local, 1), comm::sum{});
    }
    return local;
  }

  void start_gather(std::size_t b) {
    if constexpr (is_sharded) {
      const auto& whole = exchange_.buckets()[b];
      const auto [begin, end] = exchange_.own_range(b);
      gathers_[b] = comm::start_all_gather(comm_, view<const T>(parameters_.data() + begin, end - begin), view<T>(parameters_.data() + whole.begin, whole.end - whole.begin));
    }
  }

  // Where the optimizer state of this rank's part of bucket b begins: buckets lie one behind the other, 1/p of each.
  std::size_t local_offset(std::size_t b) const { return (exchange_.buckets()[b].begin - layout_.trainable_begin()) / shards(); }
  std::size_t local_size() const {
    std::size_t end = layout_.trainable_begin();
    for (const auto& b : exchange_.buckets()) end = std::max(end, b.end);
    return (end - layout_.trainable_begin()) / shards();
  }
  std::size_t shards() const { return is_sharded ? std::size_t(comm_.size()) : 1; }

  template <class Sink>
  void save_field(std::size_t f, Sink& sink) {
    const std::span<T> own = state_.field(f);
    std::vector<T> whole(is_sharded && comm_.rank() == 0 ? exchange_.arena_size() : 0);
    if constexpr (is_sharded) {
      for (std::size_t b = 0; b < exchange_.buckets().size(); ++b) {
        const auto& range = exchange_.buckets()[b];
        const std::size_t piece = (range.end - range.begin) / shards();
        comm::gather(comm_, view<const T>(own.data() + local_offset(b), piece),
                     comm_.rank() == 0 ? view<T>(whole.data() + range.begin, range.end - range.begin) : view<T>(), 0);
      }
    }
    if (comm_.rank() != 0) return;
    const std::span<const T> values = is_sharded ? sink.keep(std::move(whole)).subspan(layout_.trainable_begin()) : std::span<const T>(own);
    for (const auto& block : layout_.blocks())
      if (block.kind != block_kind::statistic)
        sink(field_name<optimizer_type>(f, block.name), values.subspan(block.offset - layout_.trainable_begin(), block.count), block.dims);
  }

  template <class Source>
  void load_field(std::size_t f, Source& source) {
    std::vector<T> values;
    for (const auto& block : layout_.blocks()) {
      if (block.kind == block_kind::statistic) continue;
      values.resize(block.count);
      source.read(field_name<optimizer_type>(f, block.name), std::span<T>(values));
      for (std::size_t b = 0; b < exchange_.buckets().size(); ++b) {
        const auto [begin, end] = exchange_.own_range(b);
        const std::size_t from = std::max(begin, block.offset), to = std::min(end, block.offset + block.count);
        if (from < to) std::copy(values.begin() + std::ptrdiff_t(from - block.offset), values.begin() + std::ptrdiff_t(to - block.offset), state_.field(f).begin() + std::ptrdiff_t(local_offset(b) + (from - begin)));
      }
    }
  }

  std::size_t accumulate_;
  model_type& model_;
  communicator_type& comm_;
  parameter_layout layout_;
  Exchange exchange_;
  optimizer_state<T, optimizer_type> state_;
  buffer<T> parameters_, gradient_;
  step_metrics<communicator_type> metrics_;
  comm::pending<communicator_type> statistics_{};
  std::vector<comm::pending<communicator_type>> gathers_;
  batch_type micro_batch_{};
};

}  // namespace entrain::parallel
