// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/trainer/trainer.hpp>

#include "compression_matrix.hpp"

// Compressors of several communications a step through a trainer, and over a checkpoint: bit for bit on the same number of ranks,
// going on with another.

using namespace entrain;

namespace {

template <class C>
void on_threads(const C& c) {
  for (const int ranks : {1, 2, 3, 5}) CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) { test::check_compression(world, c); }));
}

const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_phases_" + std::to_string(::getpid()));

template <class C, class Optimizer>
std::vector<float> train(int ranks, const C& c, const Optimizer& optimizer, std::uint64_t steps, bool resume, bool keeps) {
  std::vector<float> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    const nn::mlp model{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
    trainer run{model, optimizer, world, c, parallel::data{.bucket_bytes = resume ? 64u : 1000u}, checkpoint::safetensors{.directory = folder.string(), .every = keeps ? 5u : 1000u}};
    run.fit(test::clusters{}, {.steps = steps, .batch = 8, .resume = resume});
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

template <class C, class Optimizer = optim::sgd>
void resumes(const C& c, const Optimizer& optimizer = {.learning_rate = 0.05, .momentum = 0.9}) {
  for (const int ranks : {1, 3}) {
    CAPTURE(describe(c), ranks);
    std::filesystem::remove_all(folder);
    const auto whole = train(ranks, c, optimizer, 16, false, false);
    std::filesystem::remove_all(folder);
    train(ranks, c, optimizer, 8, false, true);
    CHECK(train(ranks, c, optimizer, 16, true, true) == whole);
    CHECK_NOTHROW(train(ranks + 1, c, optimizer, 20, true, true));
    std::filesystem::remove_all(folder);
  }
}

}  // namespace

TEST_CASE("compressors of several phases train alike on all ranks", "[compress]") {
  on_threads(compress::power_sgd{.rank = 1, .minimum_gain = 1});
  on_threads(compress::shared_terngrad{});
  CHECK_NOTHROW(comm::run_ranks(9, [&](comm::threads& world) { test::check_compression(world, compress::shared_terngrad{}); }));  // sums in whole bytes
  on_threads(compress::two_phase{compress::sign{}});
  on_threads(compress::majority_vote{.momentum = 0.9});
  on_threads(compress::per_layer{compress::rule{compress::power_sgd{.rank = 2, .minimum_gain = 1}, {.matrices = true}}, compress::two_phase{compress::sign{}}});
}

TEST_CASE("compressors of several phases resume", "[compress]") {
  resumes(compress::power_sgd{.rank = 1, .minimum_gain = 1});
  resumes(compress::after{10, compress::power_sgd{.rank = 1, .minimum_gain = 1}});
  resumes(compress::two_phase{compress::sign{}});
  resumes(compress::majority_vote{.momentum = 0.9});
  for (const std::uint64_t freeze : {3u, 11u}) {  // before the checkpoint, and after it
    const optim::one_bit_adam optimizer{.learning_rate = 0.001, .freeze_after = freeze};
    resumes(compress::one_bit_momentum_of(optimizer), optimizer);
  }
}
