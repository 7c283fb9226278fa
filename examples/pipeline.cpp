// SPDX-License-Identifier: Apache-2.0
//
// A GPT cut into as many stages as there are ranks. Each rank computes its layers only; micro-batches stream through in
// the order that the schedule says. The result is that of one rank: the last lines show both losses.

#include <cstdio>

#include <entrain/entrain.hpp>

#include "arguments.hpp"

namespace en = entrain;

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  const en::data::bytes text{argument(argc, argv, "--data", repository("include")), {.context = 32}};
  const en::nn::gpt model{.layers = 6, .heads = 2, .width = 64, .context = 32};
  const en::optim::adamw optimizer{.learning_rate = 1e-3};
  const en::fit_options options{.steps = steps_or(argc, argv, 150), .batch = 16};

  //! [pipeline]
  namespace schedule = en::parallel::schedule;
  en::trainer run{model, optimizer, world, en::parallel::pipeline<schedule::one_forward_one_backward>{.micro_batches = 8}, en::monitor::progress{}};
  const auto cut = run.fit(text, options);
  //! [pipeline]

  if (world.rank() == 0) {
    const auto times = schedule::examine(schedule::orders_of<schedule::one_forward_one_backward>(std::size_t(world.size()), 8), 8);
    std::printf("%s\nideal idle share %.1f %%, micro-batches kept by the first stage: %zu\n", run.describe().c_str(), 100 * times.bubble, times.peak[0]);
    en::trainer whole{model, optimizer};
    const auto one = whole.fit(text, options);
    std::printf("last loss in %d stages %.6f, on one rank %.6f\n", world.size(), cut.last_loss, one.last_loss);
  }
}
