// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/exact_momentum.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/error.hpp>
#include <entrain/monitor/record.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/trainer/trainer.hpp>

// The laws of a parallel policy with whatever fills the other slots: call on every rank of a communicator,
//
//   entrain::testing::check_training(world, my_model{}, dataset, optim::adamw{}, compress::none{}, my_parallelism{});
//
// throws entrain::error with the law and the figures when one is broken.
//
//   1. A lossless composition on p ranks ends where one rank ends: relative error of the parameters at most 1e-5 (fp32) or
//      1e-9 (fp64) after `steps` steps, whatever the batch leaves to which rank (also nothing). An adaptive optimizer can
//      magnify rounding beyond any bound where a gradient is zero but for rounding (the key bias of attention: AdamW
//      divides that noise by its own size), so such a model is held to the law in fp64, or with SGD.
//   2. All ranks hold the same parameters, bit for bit, with any compressor.
//   3. The bytes that the communicator counted in a step are those of the plan (at most those, where lengths depend on the data).
//   4. An evaluation counts every sample once, and gives what one rank gives with the same parameters.
//   5. Losses reported are the global ones: the same on every rank.

namespace entrain::testing {

struct training_case {
  std::uint64_t steps = 20;
  std::size_t batch = 8;
};

namespace detail {

inline void require_training(bool holds, const std::string& law, const std::string& expected = {}, const std::string& found = {}) {
  if (!holds) throw error("law of parallel policies", law + " does not hold", expected, found);
}

template <class T>
double relative_difference(std::span<const T> a, std::span<const T> b) {
  double worst = 0, scale = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(double(a[i]) - double(b[i])));
    scale = std::max(scale, std::abs(double(b[i])));
  }
  return worst / scale;
}

template <class Communicator, class T>
bool same_on_all_ranks(Communicator& comm, std::span<const T> values) {
  std::vector<T> firsts(values.begin(), values.end());
  comm::broadcast(comm, view<T>(firsts.data(), firsts.size()), 0);
  std::int32_t same = std::equal(values.begin(), values.end(), firsts.begin()) ? 1 : 0;
  comm::all_reduce(comm, view<std::int32_t>(&same, 1), comm::minimum{});
  return same == 1;
}

}  // namespace detail

template <class Communicator, class Model, class Dataset, class Optimizer, class Compression, class Parallelism, class Precision = precision::fp32>
void check_training(Communicator& comm, const Model& model, const Dataset& dataset, const Optimizer& optimizer, const Compression& compression, const Parallelism& parallelism,
                    const Precision& number_format = {}, const training_case& how = {}) {
  using T = typename Precision::value_type;
  const std::string who = describe(parallelism) + " with " + describe(compression) + " on " + std::to_string(comm.size()) + " ranks";
  const fit_options options{.steps = how.steps, .batch = how.batch, .seed = 3, .prefetch = false};

  std::vector<monitor::step_event> events, alone_events;
  trainer together{model, optimizer, comm, compression, parallelism, number_format, monitor::record{events, comm.rank()}};
  together.fit(dataset, options);
  together.assemble_parameters();
  const std::span<const T> reached = together.parameters();

  const auto uncompressed = [&] {
    if constexpr (requires { requires Optimizer::takes_momentum; }) return compress::exact_momentum_of(optimizer);
    else return compress::none{};
  };
  trainer alone{model, optimizer, uncompressed(), number_format, monitor::record{alone_events}};
  alone.fit(dataset, options);

  if constexpr (compress::is_lossless<Compression>) {
    const double limit = sizeof(T) == 8 ? 1e-9 : 1e-5;
    const double difference = detail::relative_difference<T>(reached, alone.parameters());
    detail::require_training(difference <= limit, who + ": p ranks end where one rank ends", entrain::detail::text("relative error at most ", limit), entrain::detail::text(difference));
    for (std::size_t s = 0; s < events.size(); ++s)
      detail::require_training(std::abs(events[s].loss - alone_events[s].loss) <= limit * (1 + std::abs(alone_events[s].loss)), who + ": the loss of step " + std::to_string(s) + " is the global one",
                               std::to_string(alone_events[s].loss), std::to_string(events[s].loss));
  }
  detail::require_training(detail::same_on_all_ranks(comm, reached), who + ": all ranks hold the same parameters");

  const std::uint64_t an_epoch = (dataset.size() + how.batch - 1) / how.batch;
  for (std::size_t s = 0; s < events.size(); ++s) {
    const std::size_t samples = s % an_epoch + 1 == an_epoch ? std::size_t(dataset.size()) - std::size_t(an_epoch - 1) * how.batch : how.batch;
    const auto plan = together.plan(samples, s);
    const std::uint64_t planned = parallel::bytes_sent(plan);
    const bool exact = std::none_of(plan.begin(), plan.end(), [](const auto& entry) { return entry.at_most; });
    detail::require_training(exact ? events[s].bytes_sent == planned : events[s].bytes_sent <= planned, who + ": bytes counted in step " + std::to_string(s) + " are those of the plan", std::to_string(planned),
                             std::to_string(events[s].bytes_sent));
  }

  const loss_sum evaluated = together.evaluate(dataset, {.batch = 3});
  std::copy(reached.begin(), reached.end(), alone.parameters().begin());
  const loss_sum expected = alone.evaluate(dataset, {.batch = 7});
  detail::require_training(evaluated.count == expected.count && evaluated.correct == expected.correct, who + ": an evaluation counts every sample once", std::to_string(expected.count),
                           std::to_string(evaluated.count));
  detail::require_training(std::abs(evaluated.sum - expected.sum) <= 1e-5 * (1 + std::abs(expected.sum)), who + ": an evaluation gives what one rank gives", std::to_string(expected.sum),
                           std::to_string(evaluated.sum));
}

}  // namespace entrain::testing
