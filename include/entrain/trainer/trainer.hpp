// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <span>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/checkpoint/archive.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/data/concepts.hpp>
#include <entrain/data/loader.hpp>
#include <entrain/engine/start.hpp>
#include <entrain/monitor/concepts.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/trainer/agreement.hpp>
#include <entrain/trainer/composition.hpp>
#include <entrain/trainer/diagnosis.hpp>
#include <entrain/trainer/options.hpp>
#include <entrain/trainer/run_state.hpp>

// The trainer: one policy for each question, in any order, composed into one type.
//
//   entrain::trainer run{nn::mlp{...}, optim::adamw{}, world, parallel::sharded{}};
//   run.fit(dataset, {.steps = 1000, .batch = 64});
//   std::cout << run.evaluate(test_set).accuracy();
//
// A communicator given as a variable is referred to and must outlive the trainer; all else is copied. All member functions
// but parameters(), describe() and request_stop() are collective: every rank calls them in the same order.
//
// A trainer is built by the constructor of its base, so that arguments which make no trainer meet an empty class and a
// sentence (trainer/diagnosis.hpp) and not a page of consequences.

namespace entrain {

namespace detail {

template <bool WellFormed, class... P>
class composed_trainer {
  static_assert(explain<P...>());

 public:
  template <class... Arguments>
  explicit composed_trainer(Arguments&&...) {}
};

template <class... P>
class composed_trainer<true, P...> {
  using choice = chosen<P...>;

 public:
  using model_type = typename choice::model;
  using batch_type = typename model_type::batch_type;
  using value_type = typename choice::value_type;
  using communicator_type = typename choice::communicator;
  using kept_type = typename choice::kept_type;
  using setup = parallel::setup<model_type, typename choice::optimizer, communicator_type, typename choice::compressor, kept_type>;
  static_assert(choice::parallelism::template check<setup>());
  static_assert(momentum_travels<choice>());
  using replica_type = typename choice::parallelism::template replica<setup>;

  // Allocates everything a step needs, gives parameters their first values and compares the plan over all ranks: ranks
  // that disagree get a communication_error that names them.
  template <class... Arguments>
  explicit composed_trainer(Arguments&&... arguments)
      : policies_(std::forward<Arguments>(arguments)...),
        model_(make_model()),
        replica_(policies_.of(slot::parallelism{}), model_, policies_.of(slot::optimizer{}), comm(), policies_.of(slot::compression{})) {
    if constexpr (requires { replica_.set_precision(policies_.of(slot::precision{})); }) replica_.set_precision(policies_.of(slot::precision{}));
    initialise(1);
  }
  composed_trainer(const composed_trainer&) = delete;

  // First values of the parameters, from a seed; forgets nothing else.
  void initialise(std::uint64_t seed) {
    model_.initialise(replica_.parameters(), seed);
    if constexpr (requires { replica_.parameters_changed(); }) replica_.parameters_changed();
    require_same_costs(comm());
    require_agreement(comm(), "trainer", agreed_facts(replica_.layout(), replica_.plan(comm().size() * 64), std::span<const kept_type>(replica_.parameters())));
  }

  // One step on this rank's part of the global batch. With ENTRAIN_ASSERT_LEVEL 3 ranks then compare their parameters (one
  // all-gather of 8 bytes and a pass over them), and a rank that has drifted is named. `first_sample`: where that part begins in the global batch; `seed`
  // keys dropout and random compressors.
  parallel::step_report step(const batch_type& batch, std::size_t first_sample = 0, std::uint64_t seed = 1) {
    auto& fault = policies_.of(slot::fault{});
    fault.at("step", comm().rank(), steps_);
    nn::pass how;
    how.seed = seed, how.step = steps_, how.first_sample = first_sample;
    const auto report = replica_.step(batch, how, stop_requested_.load(std::memory_order_relaxed));
    fault.at("update", comm().rank(), steps_);
    ++steps_;
    if constexpr (ENTRAIN_ASSERT_LEVEL >= 3 && requires { requires replica_type::whole_after_step; })
      require_agreement(comm(), "trainer::step", {{"the parameters after a step", hash_of(std::span<const kept_type>(replica_.parameters()))}});
    return report;
  }

  // Trains until options.steps steps have been taken in all, or somebody asked to stop.
  template <data::dataset Dataset>
  monitor::run_summary fit(const Dataset& dataset, const fit_options& options = {}) {
    static_assert(std::same_as<typename Dataset::batch_type, batch_type>,
                  "trainer::fit was given a dataset whose batches the model does not take: Dataset::batch_type must be the model's batch_type");
    stop_requested_ = false;
    if (options.resume) resume();
    const std::uint64_t target = target_steps(dataset.size(), options);
    monitor::run_summary summary;
    announce(target);
    data::loader loader(dataset, data::loader_options{.seed = options.seed, .batch = options.batch, .rank = int(replica_.data_rank()), .ranks = int(replica_.data_ranks()),
                                                      .first_step = steps_, .shuffle = options.shuffle, .prefetch = options.prefetch});
    const auto begin = std::chrono::steady_clock::now();
    auto before = begin;
    while (steps_ < target && !summary.stopped_early) {
      const batch_type& batch = loader.next();
      const std::uint64_t bytes = comm().counters().bytes;
      const auto report = step(batch, std::size_t(loader.samples_before()), options.seed);
      const auto now = std::chrono::steady_clock::now();
      tell(report, std::chrono::duration<double>(now - before).count(), comm().counters().bytes - bytes);
      before = now;
      account(summary, report);
      save_if_due();
    }
    summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    policies_.template for_each<slot::monitor>([&](auto& m) {
      if constexpr (requires { m.finish(summary); }) m.finish(summary);
    });
    return summary;
  }

  // The loss over a whole dataset, every sample counted exactly once on any number of ranks.
  template <data::dataset Dataset>
  loss_sum evaluate(const Dataset& dataset, const evaluate_options& options = {}) {
    static_assert(std::same_as<typename Dataset::batch_type, batch_type>,
                  "trainer::evaluate was given a dataset whose batches the model does not take: Dataset::batch_type must be the model's batch_type");
    const part mine = nth_part(std::size_t(dataset.size()), replica_.data_rank(), replica_.data_ranks());
    typename Dataset::batch_type batch;
    std::vector<std::uint64_t> indices;
    loss_sum total;
    for (std::size_t done = 0; done < mine.count; done += indices.size()) {
      indices.resize(std::min(options.batch, mine.count - done));
      for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = mine.first + done + i;
      dataset.fill(indices, batch);
      total += replica_.loss(batch);
    }
    double sums[] = {total.sum, double(total.count), double(total.correct)};
    comm::all_reduce(comm(), view<double>(sums, 3), comm::sum{});
    return {sums[0], std::int64_t(sums[1]), std::int64_t(sums[2])};
  }

  // Asks for an early end: every rank stops after the same step. May be called from a monitor, a signal-driven thread, or
  // by any one rank.
  void request_stop() { stop_requested_ = true; }

  // Writes a checkpoint now. Needs a checkpoint policy.
  void save() {
    if constexpr (checkpoint_type::enabled) {
      checkpoint::archive state;
      collecting_sink sink(state);
      state.add_scalar("run.steps", steps_);
      state.add_text("entrain.description", describe());
      replica_.save(sink);
      on_rank_zero(comm(), "trainer::save", [&] { policies_.of(slot::checkpoint{}).save(state, steps_); });
    }
  }

  // Goes on from the newest whole checkpoint; false when there is none.
  bool resume() {
    if constexpr (checkpoint_type::enabled) {
      std::string path;
      on_rank_zero(comm(), "trainer::resume", [&] {
        const auto found = policies_.of(slot::checkpoint{}).latest();
        for (const auto& note : found.notes) std::fprintf(stderr, "%s\n", note.c_str());
        path = found.path.string();
      });
      path = broadcast_text(comm(), std::move(path));
      if (path.empty()) return false;
      const auto stored = checkpoint::archive::load(path);
      stored.read_scalar("run.steps", steps_);
      replica_.load(reading_source{stored});
      return true;
    } else {
      return false;
    }
  }

  std::uint64_t steps() const { return steps_; }
  communicator_type& comm() { return policies_.of(slot::communicator{}); }
  model_type& model() { return model_; }
  replica_type& replica() { return replica_; }

  // This rank's arena. For policies that spread the parameters, and engines with memory of their own, call assemble_parameters() on all
  // ranks first.
  std::span<kept_type> parameters() { return replica_.parameters(); }
  void assemble_parameters() { replica_.assemble_parameters(); }

  // New values for the parameters, from anywhere: give(layout, arena) is called on rank 0, whose arena holds the present values, and every
  // rank and engine gets what it leaves there. If it throws, every rank throws and the parameters are as they were. Optimizer and
  // compressor state and the count of steps stay. A file of public weights: trainer/public_weights.hpp. Cost: a copy on rank 0, a broadcast.
  template <class Give>
  void set_parameters(Give&& give) {
    if constexpr (requires { replica_.require_settable(steps_); }) replica_.require_settable(steps_);
    replica_.assemble_parameters();
    const std::span<kept_type> arena = replica_.parameters();
    on_rank_zero(comm(), "trainer::set_parameters", [&] {
      std::vector<kept_type> values(arena.begin(), arena.end());
      give(replica_.layout(), std::span<kept_type>(values));
      std::copy(values.begin(), values.end(), arena.begin());
    });
    comm::broadcast(comm(), view<kept_type>(arena.data(), arena.size()), 0);
    if constexpr (requires { replica_.parameters_changed(); }) replica_.parameters_changed();
  }
  parallel::plan plan(std::size_t global_batch, std::uint64_t step = 0) { return replica_.plan(global_batch, step); }

  // How gradients travel at that step and why, a line a message; for policies that exchange gradients.
  std::string explain(std::uint64_t step = 0) requires requires(replica_type& r) { r.explain(step); } { return replica_.explain(step); }

  // What was composed, in words and numbers.
  std::string describe() {
    std::ostringstream out;
    const auto& layout = replica_.layout();
    out << "model         " << entrain::describe(policies_.of(slot::model{})) << '\n'
        << "              " << layout.parameter_count() << " parameters in " << layout.blocks().size() << " blocks\n"
        << "optimizer     " << entrain::describe(policies_.of(slot::optimizer{})) << '\n'
        << "communicator  " << entrain::describe(comm()) << ", rank " << comm().rank() << " of " << comm().size() << '\n'
        << "compression   " << entrain::describe(policies_.of(slot::compression{})) << '\n'
        << "parallelism   " << entrain::describe(policies_.of(slot::parallelism{})) << '\n'
        << "engine        " << entrain::describe(policies_.of(slot::engine{})) << '\n'
        << "precision     " << entrain::describe(policies_.of(slot::precision{})) << '\n'
        << "a step sends  " << parallel::bytes_sent(replica_.plan(64)) << " bytes in " << replica_.plan(64).size() << " operations";
    if constexpr (sliceable<batch_type>) out << " (batch of 64)";
    out << '\n';
    return out.str();
  }

 private:
  using checkpoint_type = policy_of<slot::checkpoint, P...>;

  model_type make_model() {
    const auto& given = policies_.of(slot::model{});
    if constexpr (requires { given.template make<value_type>(engine::start(policies_.of(slot::engine{}))); }) return given.template make<value_type>(start_engine());
    else return given;
  }
  auto start_engine() {
    if constexpr (precision::asks_float8_products<policy_of<slot::precision, P...>>) return engine::start(policies_.of(slot::engine{})).with_float8_products();
    else return engine::start(policies_.of(slot::engine{}));
  }

  static std::uint64_t target_steps(std::uint64_t samples, const fit_options& o) {
    if (o.batch == 0) throw usage_error("trainer::fit", "the batch is empty", "fit_options::batch of at least 1", "0");
    if (samples == 0) throw usage_error("trainer::fit", "the dataset has no samples");
    const std::uint64_t an_epoch = (samples + o.batch - 1) / o.batch;
    return o.steps > 0 ? o.steps : std::max<std::uint64_t>(1, o.epochs) * an_epoch;
  }

  void announce(std::uint64_t target) {
    monitor::run_info info{comm().rank(), comm().size(), steps_, target > steps_ ? target - steps_ : 0, describe(), requires(batch_type b) { b.length; } ? "tokens" : "samples"};
    policies_.template for_each<slot::monitor>([&](auto& m) {
      if constexpr (requires { m.start(info); }) m.start(info);
    });
  }

  void tell(const parallel::step_report& report, double seconds, std::uint64_t bytes) {
    const monitor::step_event event{steps_ - 1, report.loss.mean(), report.loss.count, report.learning_rate, seconds, report.exposed_seconds, report.compute_seconds, bytes, report.loss_scale, report.skipped};
    policies_.template for_each<slot::monitor>([&](auto& m) {
      if constexpr (requires { m.step(event); }) m.step(event);
    });
  }

  static void account(monitor::run_summary& summary, const parallel::step_report& report) {
    if (summary.steps == 0) summary.first_loss = report.loss.mean();
    summary.last_loss = report.loss.mean();
    summary.count += report.loss.count;
    summary.stopped_early = report.stop;
    summary.skipped_steps += report.skipped;
    ++summary.steps;
  }

  void save_if_due() {
    if constexpr (checkpoint_type::enabled)
      if (policies_.of(slot::checkpoint{}).due(steps_)) save();
  }

  policies<P...> policies_;
  model_type model_;
  replica_type replica_;
  std::uint64_t steps_ = 0;
  std::atomic<bool> stop_requested_ = false;
};

template <class... P>
using trainer_base = composed_trainer<members_fit<P...>(), P...>;

}  // namespace detail

template <class... P>
class trainer : public detail::trainer_base<P...> {
 public:
  template <class... Arguments>
  explicit trainer(Arguments&&... arguments) : detail::trainer_base<P...>(std::forward<Arguments>(arguments)...) {}
};

template <class... Arguments>
trainer(Arguments&&...) -> trainer<detail::kept<Arguments&&>...>;

}  // namespace entrain
