// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/parallel/boundary.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/holders.hpp>
#include <entrain/parallel/metrics.hpp>
#include <entrain/parallel/partition.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/schedule.hpp>
#include <entrain/parallel/update.hpp>

// Pipeline parallelism: the model is cut between layers into as many stages as there are ranks; a batch goes through in
// micro-batches, in the order that a schedule says, and one update follows (a flush, so the result is that of one rank).
//
// Needs a staged model (the models of nn are). What the compression slot holds encodes the activations and their gradients at the
// cuts (boundary.hpp): compress::cast, or another compressor without memory. Every rank's loader fetches the whole batch: the first
// stage reads its inputs, the last one its targets. Bytes a rank and step: activations to the right and their gradients to
// the left at every cut. Memory: gradients, optimizer state and the schedule's peak of activations of the own stage (arenas
// span the whole layout, but only pages that are touched take memory; the parameters are initialised whole).

namespace entrain::parallel {

template <class Schedule = schedule::one_forward_one_backward>
struct pipeline {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "pipeline";

  std::size_t micro_batches = 4;

  template <class Setup>
  static constexpr bool check() {
    static_assert(nn::on_host<typename Setup::model>, "parallel::pipeline has no form for engine::cuda yet: use parallel::data there, or engine::host");
    static_assert(nn::staged<typename Setup::model>,
                  "parallel::pipeline cuts the model between its layers and needs a staged model such as nn::gpt or nn::mlp: "
                  "a model that offers only its loss and gradient trains with parallel::data or parallel::sharded");
    static_assert(takes_activations<typename Setup::compressor>(),
                  "parallel::pipeline sends activations, each of them once: use a compressor that keeps no memory and leaves no value out, such as compress::cast, or use parallel::data");
    static_assert(sliceable<typename Setup::model::batch_type>,
                  "parallel::pipeline cuts batches into micro-batches and needs a batch type with a member 'samples' and a function slice(from, first, count, to)");
    return true;
  }

  template <class Setup>
  class replica;

  std::string describe() const { return "pipeline<" + std::string(Schedule::name) + ">{micro_batches " + std::to_string(micro_batches) + "}"; }
  friend bool operator==(const pipeline&, const pipeline&) = default;
};

template <class Schedule>
template <class Setup>
class pipeline<Schedule>::replica {
 public:
  using model_type = typename Setup::model;
  using optimizer_type = typename Setup::optimizer;
  using communicator_type = typename Setup::communicator;
  using request = comm::pending<communicator_type>;
  using compressor_type = typename Setup::compressor;
  using T = typename Setup::value_type;
  using batch_type = typename model_type::batch_type;

  replica(const pipeline& policy, model_type& model, const optimizer_type& optimizer, communicator_type& comm, const compressor_type& compressor)
      : comm_(comm),
        compressor_(compressor),
        rank_(std::size_t(comm.rank())),
        ranks_(std::size_t(comm.size())),
        micro_batches_(policy.micro_batches),
        layout_(model.layout()),
        cuts_(balanced_cuts(costs(model), ranks_)),
        order_(Schedule::order(rank_, ranks_, micro_batches_)),
        slots_(schedule::examine(schedule::orders_of<Schedule>(ranks_, micro_batches_), micro_batches_).peak.at(rank_)),
        stage_(model.make_stage(cuts_[rank_], cuts_[rank_ + 1], slots_)),
        holders_(model, layout_, cuts_, comm),
        state_(optimizer, layout_.size()),
        parameters_(layout_.size()),
        gradient_(layout_.size()),
        metrics_(comm),
        parts_(micro_batches_),
        lanes_(slots_) {}

  const parameter_layout& layout() const { return layout_; }
  std::span<T> parameters() { return parameters_.span(); }
  std::size_t data_rank() const { return 0; }
  std::size_t data_ranks() const { return 1; }

  step_report step(const batch_type& batch, nn::pass how, bool stop) {
    step_report report;
    cut(batch);
    zero_own_gradients();
    how.accumulate = true;
    loss_sum loss;
    for (const auto& task : order_) {
      if (task.kind == schedule::work::forward) loss += forward(task.micro_batch, how, report);
      else backward(task.micro_batch, how, report);
    }
    const bool last = rank_ + 1 == ranks_;
    metrics_.start(last ? loss : loss_sum{}, stop);
    {
      const timed waiting(report.exposed_seconds);
      for (auto& each : lanes_) each.finish();
      holders_.sum_tied(gradient_.all());
      metrics_.wait();
    }
    report.loss = metrics_.loss();
    report.stop = metrics_.stop();
    report.learning_rate = state_.optimizer().learning_rate_at(how.step);
    if (report.loss.count > 0) update(how.step, report);
    return report;
  }

  // Forward only; the last stage knows the loss.
  loss_sum loss(const batch_type& batch) {
    cut(batch);
    loss_sum total;
    step_report unused;
    nn::pass how;
    how.training = false;
    for (std::size_t m = 0; m < micro_batches_; ++m) {
      total += forward(m, how, unused, m % slots_);
      lanes_[m % slots_].finish();
    }
    return rank_ + 1 == ranks_ ? total : loss_sum{};
  }

  // Every block from the first stage that holds it.
  void assemble_parameters() {
    for (std::size_t b = 0; b < layout_.blocks().size(); ++b)
      comm::broadcast(comm_, view<T>(parameters_.data() + layout_[b].offset, layout_[b].count), int(holders_.owner(b)));
  }

  parallel::plan plan(std::size_t global_batch, std::uint64_t = 0) const {
    parallel::plan p;
    for (const auto& task : order_) {
      const bool right = task.kind == schedule::work::forward;
      if (right ? rank_ + 1 == ranks_ : rank_ == 0) continue;
      const std::size_t width = right ? stage_.boundary_out() : stage_.boundary_in();
      p.push_back({"message", right ? "activation" : "activation gradient", wire::element_bytes, wire::count(compressor_, nth_part(global_batch, task.micro_batch, micro_batches_).count * width),
                   int(right ? rank_ + 1 : rank_ - 1)});
    }
    holders_.add_to(p, sizeof(T));
    if (ranks_ > 1) p.push_back({"all_reduce", "metrics", sizeof(double), step_metrics<communicator_type>::count});
    if (ranks_ > 1 && optim::clip_norm_of(state_.optimizer()) > 0) p.push_back({"all_reduce", "norm", sizeof(double), 1});
    return p;
  }

  std::size_t optimizer_bytes() const {
    std::size_t own = 0, fields = 0;
    for (std::size_t b = 0; b < holders_.size(); ++b) own += holders_.held_here(b) ? layout_[b].count : 0;
    for (std::size_t f = 0; f < state_.field_count; ++f) fields += state_.needs(f);
    return own * fields * sizeof(T);
  }

  template <class Sink>
  void save(Sink&& sink) {
    for (std::size_t b = 0; b < layout_.blocks().size(); ++b) save_block("parameters.", b, parameters_.span(), sink);
    for (std::size_t f = 0; f < state_.field_count; ++f)
      if (state_.needs(f))
        for (std::size_t b = 0; b < layout_.blocks().size(); ++b)
          if (layout_[b].kind != block_kind::statistic) save_block(field_name<optimizer_type>(f, ""), b, state_.field(f), sink);
  }

  template <class Source>
  void load(Source&& source) {
    for (const auto& block : layout_.blocks()) {
      source.read("parameters." + block.name, parameters_.span().subspan(block.offset, block.count));
      for (std::size_t f = 0; f < state_.field_count; ++f)
        if (state_.needs(f) && block.kind != block_kind::statistic)
          source.read(field_name<optimizer_type>(f, block.name), state_.field(f).subspan(block.offset, block.count));
    }
  }

 private:
  static constexpr int activation_tag = comm::first_internal_tag + 256, gradient_tag = activation_tag + 1, state_tag = activation_tag + 3;

  using wire = boundary<T, communicator_type, compressor_type>;
  // Room for one micro-batch in flight, and the sends that still read from it.
  struct lane {
    std::vector<T> in, out, din, dout;
    wire from_left, to_right, from_right, to_left;
    request sent_out{}, sent_din{};
    void finish() {
      sent_out.wait();
      sent_din.wait();
    }
  };

  // Random numbers of an encoding: the sender's, another for each micro-batch and direction.
  compress::context key(const nn::pass& how, std::size_t micro_batch, std::size_t sender, std::size_t direction) const {
    return {.seed = how.seed, .step = how.step, .block = std::uint32_t(2 * micro_batch + direction), .rank = std::uint32_t(sender), .ranks = std::uint32_t(ranks_)};
  }

  static std::vector<double> costs(model_type& model) {
    std::vector<double> cost;
    for (std::size_t u = 0; u < model.units(); ++u) cost.push_back(model.unit_cost(u));
    return cost;
  }

  void cut(const batch_type& batch) {
    for (std::size_t m = 0; m < micro_batches_; ++m) {
      const part piece = nth_part(batch.samples, m, micro_batches_);
      slice(batch, piece.first, piece.count, parts_[m].batch);
      parts_[m].first = piece.first;
    }
  }

  void zero_own_gradients() {
    for (std::size_t b = 0; b < holders_.size(); ++b)
      if (holders_.held_here(b)) std::fill_n(gradient_.data() + layout_[b].offset, layout_[b].count, T(0));
  }

  loss_sum forward(std::size_t m, nn::pass how, step_report& report) { return forward(m, how, report, m % slots_); }

  loss_sum forward(std::size_t m, nn::pass how, step_report& report, std::size_t slot) {
    auto& l = lanes_[slot];
    const auto& piece = parts_[m];
    const std::size_t n = piece.batch.samples;
    {
      const timed waiting(report.exposed_seconds);
      l.finish();
      l.in.resize(n * stage_.boundary_in());
      l.out.resize(n * stage_.boundary_out());
      if (rank_ > 0) l.from_left.receive(comm_, compressor_, key(how, m, rank_ - 1, 0), !how.training, view<T>(l.in), int(rank_ - 1), activation_tag);
    }
    loss_sum loss;
    {
      const timed computing(report.compute_seconds);
      how.first_sample += piece.first;
      loss = stage_.forward(std::span<const T>(parameters_.span()), piece.batch, view<const T>(l.in), view<T>(l.out), slot, how);
    }
    if (rank_ + 1 < ranks_) l.sent_out = l.to_right.start_send(comm_, compressor_, key(how, m, rank_, 0), !how.training, view<const T>(l.out), int(rank_ + 1), activation_tag);
    return loss;
  }

  void backward(std::size_t m, nn::pass how, step_report& report) {
    auto& l = lanes_[m % slots_];
    const auto& piece = parts_[m];
    const std::size_t n = piece.batch.samples;
    {
      const timed waiting(report.exposed_seconds);
      l.dout.resize(n * stage_.boundary_out());
      l.din.resize(n * stage_.boundary_in());
      if (rank_ + 1 < ranks_) l.from_right.receive(comm_, compressor_, key(how, m, rank_ + 1, 1), !how.training, view<T>(l.dout), int(rank_ + 1), gradient_tag);
    }
    {
      const timed computing(report.compute_seconds);
      how.first_sample += piece.first;
      stage_.backward(std::span<const T>(parameters_.span()), piece.batch, view<const T>(l.dout), view<T>(l.din), gradient_.span(), m % slots_, how, [](std::size_t) {});
    }
    if (rank_ > 0) l.sent_din = l.to_left.start_send(comm_, compressor_, key(how, m, rank_, 1), !how.training, view<const T>(l.din), int(rank_ - 1), gradient_tag);
  }

  void update(std::uint64_t step, step_report& report) {
    const double clip = optim::clip_norm_of(state_.optimizer());
    double squares = 0;
    if (clip > 0) {
      for (std::size_t b = 0; b < holders_.size(); ++b)
        if (holders_.owned_here(b) && layout_[b].kind != block_kind::statistic) squares += sum_of_squares(view<const T>(gradient_.data() + layout_[b].offset, layout_[b].count));
      const timed waiting(report.exposed_seconds);
      if (ranks_ > 1) comm::all_reduce(comm_, view<double>(&squares, 1), comm::sum{});
    }
    const timed computing(report.compute_seconds);
    const optim::update_context context{step, report.learning_rate, gradient_scale(report.loss.count, clip, squares), block_kind::weight};
    for (std::size_t b = 0; b < holders_.size(); ++b) {
      const auto& block = layout_[b];
      if (!holders_.held_here(b) || block.kind == block_kind::statistic) continue;
      state_.apply(layout_, context, placed<T, replicated>{gradient_.subview(block.offset, block.count), block.offset}, parameters_.span(), block.offset);
    }
    update_own_statistics(report.loss.count);
  }

  void update_own_statistics(std::int64_t count) {
    for (std::size_t b = 0; b < holders_.size(); ++b)
      if (holders_.held_here(b) && layout_[b].kind == block_kind::statistic)
        update_statistics<T>(gradient_.span().subspan(layout_[b].offset, layout_[b].count), parameters_.span().subspan(layout_[b].offset, layout_[b].count), count);
  }

  template <class Sink>
  void save_block(const std::string& prefix, std::size_t b, std::span<T> values, Sink& sink) {
    const auto& block = layout_[b];
    const std::span<T> own = values.subspan(block.offset, block.count);
    std::vector<T> received;
    if (holders_.owner(b) != 0 && rank_ == holders_.owner(b)) comm::send(comm_, view<const T>(own.data(), own.size()), 0, state_tag);
    if (rank_ != 0) return;
    if (holders_.owner(b) != 0) {
      received.resize(block.count);
      comm::receive(comm_, view<T>(received), int(holders_.owner(b)), state_tag);
    }
    sink(prefix + block.name, holders_.owner(b) == 0 ? std::span<const T>(own) : sink.keep(std::move(received)), block.dims);
  }

  struct piece_of_batch {
    batch_type batch{};
    std::size_t first = 0;
  };

  communicator_type& comm_;
  compressor_type compressor_;
  std::size_t rank_, ranks_, micro_batches_;
  parameter_layout layout_;
  std::vector<std::size_t> cuts_;
  schedule::order order_;
  std::size_t slots_;
  decltype(std::declval<model_type&>().make_stage(0, 0, 0)) stage_;
  block_holders<communicator_type> holders_;
  optimizer_state<T, optimizer_type> state_;
  buffer<T> parameters_, gradient_;
  step_metrics<communicator_type> metrics_;
  std::vector<piece_of_batch> parts_;
  std::vector<lane> lanes_;
};

}  // namespace entrain::parallel
