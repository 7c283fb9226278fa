// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/losses.hpp"
#include "../trainer/models.hpp"

// What tests of trainers over the emulated NCCL share: a run on some ranks, by NCCL or through host memory, and what came of it.

namespace entrain::test {

struct nccl_outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  double evaluated = 0;
  std::string explained;
  std::uint64_t planned = 0, counted = 0;  // bytes sent
};

template <class World, class Model, class Optimizer, class... More>
nccl_outcome train_over(World& world, std::uint64_t to, const Model& model, const Optimizer& optimizer, const More&... more) {
  nccl_outcome out;
  trainer run{model, optimizer, world, losses_to{&out.losses}, more...};
  const auto before = world.counters().bytes;
  run.fit(clusters{}, {.steps = to, .batch = 12, .resume = true});
  out.counted = world.counters().bytes - before, out.planned = to * parallel::bytes_sent(run.plan(12));
  out.explained = run.explain();
  run.assemble_parameters();
  out.parameters.assign(run.parameters().begin(), run.parameters().end());
  out.evaluated = run.evaluate(clusters{}).mean();
  return out;
}

// Rank 0's.
template <class... What>
nccl_outcome train_by_threads(int ranks, std::uint64_t to, const What&... what) {
  nccl_outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    auto mine = train_over(world, to, what...);
    if (world.rank() == 0) out = std::move(mine);
  });
  return out;
}
template <class... What>
nccl_outcome train_by_nccl(int ranks, std::uint64_t to, const What&... what) {
  nccl_outcome out;
  comm::run_ranks(ranks, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::seconds(30)}};
    auto mine = train_over(world, to, what...);
    if (host.rank() == 0) out = std::move(mine);
  });
  return out;
}

}  // namespace entrain::test
