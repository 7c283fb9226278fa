// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <filesystem>
#include <string>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "trainers.hpp"

// A GPT with dropout on a device: 20 steps are the host's, any number of ranks is one rank, and a run goes on from its checkpoint bit for bit.

using namespace entrain;
using test::check_same, test::sequences, test::train;

namespace {

constexpr std::uint64_t steps = 20;
const nn::gpt model{.layers = 1, .heads = 2, .width = 32, .context = 12, .vocabulary = 23, .dropout = 0.1f};
const optim::adamw optimizer{.learning_rate = 3e-3};
const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_device_gpt_" + std::to_string(::getpid()));

}  // namespace

TEST_CASE("20 steps of a GPT on the device are the host's, on any number of ranks", "[device]") {
  const optim::sgd plain{.learning_rate = 0.1};
  const auto host = train(1, model, sequences{}, steps, 4, plain);
  CHECK(host.losses.size() == steps);
  CHECK(host.losses.back() < host.losses.front());
  for (const int ranks : {1, 2, 3, 4}) {
    INFO(ranks << " ranks");
    check_same(train(ranks, model, sequences{}, steps, 4, plain, engine::cuda{}), host, 1e-4);
  }
}

TEST_CASE("a GPT's run in bfloat16 on the device goes on bit for bit", "[device]") {
  for (const int ranks : {1, 2}) {
    const auto run = [&](std::uint64_t to) {
      return train(ranks, model, sequences{}, to, 4, optimizer, engine::cuda{}, precision::bf16_mixed{}, checkpoint::safetensors{.directory = folder.string(), .every = 3});
    };
    std::filesystem::remove_all(folder);
    const auto whole = run(6);
    std::filesystem::remove_all(folder);
    run(4);
    const auto second = run(6);
    CHECK(second.losses.size() == 3);  // from step 3
    CHECK(second.parameters == whole.parameters);
    std::filesystem::remove_all(folder);
  }
}
