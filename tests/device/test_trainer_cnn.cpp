// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <filesystem>
#include <string>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/convolution.hpp>
#include <entrain/nn/flatten.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "trainers.hpp"

// A CNN on a device: 20 steps are the host's, any number of ranks is one rank, and a run goes on from its checkpoint bit for bit.

using namespace entrain;
using test::check_same, test::pictures, test::train;

namespace {

constexpr std::uint64_t steps = 20;
const nn::cnn model{.height = 8, .width = 8, .filters = {2, 4}, .kernel = 3, .hidden = 12, .classes = 4};
const optim::sgd plain{.learning_rate = 0.05, .momentum = 0.9};
const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_device_cnn_" + std::to_string(::getpid()));

}  // namespace

TEST_CASE("20 steps of a CNN on the device are the host's, on any number of ranks", "[device]") {
  const auto host = train(1, model, pictures{}, steps, 4, plain);
  CHECK(host.losses.size() == steps);
  CHECK(host.losses.back() < 0.7 * host.losses.front());
  for (const int ranks : {1, 2, 3, 4}) {
    INFO(ranks << " ranks");
    check_same(train(ranks, model, pictures{}, steps, 4, plain, engine::cuda{}), host, 1e-4);
  }
}

TEST_CASE("a CNN in bfloat16 learns, on four ranks as on one", "[device]") {
  const auto one = train(1, model, pictures{}, steps, 4, plain, engine::cuda{}, precision::bf16_mixed{});
  CHECK(one.losses.back() < 0.7 * one.losses.front());
  CHECK(test::distance(train(4, model, pictures{}, steps, 4, plain, engine::cuda{}, precision::bf16_mixed{}).losses, one.losses) <= 3e-2);
}

TEST_CASE("a CNN's run on the device goes on bit for bit", "[device]") {
  const auto run = [&](std::uint64_t to) {
    return train(2, model, pictures{}, to, 4, optim::adamw{}, engine::cuda{}, checkpoint::safetensors{.directory = folder.string(), .every = 5});
  };
  std::filesystem::remove_all(folder);
  const auto whole = run(8);
  std::filesystem::remove_all(folder);
  run(6);
  const auto second = run(8);
  CHECK(second.losses.size() == 3);  // from step 5
  CHECK(second.parameters == whole.parameters);
  std::filesystem::remove_all(folder);
}

TEST_CASE("batch norm's running values are the host's", "[device]") {
  const nn::classifier normalised{nn::sequential{nn::convolution{.filters = 3, .kernel = 3}, nn::batch_norm{}, nn::relu, nn::flatten{}, nn::linear{4}}, {1, 8, 8}, 4};
  for (const int ranks : {1, 3}) {
    CAPTURE(ranks);
    const auto host = train(ranks, normalised, pictures{}, steps, 6, plain);
    check_same(train(ranks, normalised, pictures{}, steps, 6, plain, engine::cuda{}), host, 1e-4);
    CHECK(test::distance(train(ranks, normalised, pictures{}, steps, 6, plain, engine::cuda{}, precision::bf16_mixed{}).parameters, host.parameters) <= 5e-2);
    CHECK(test::distance(train(ranks, normalised, pictures{}, steps, 6, plain, engine::cuda{}, precision::fp16_mixed{}).parameters, host.parameters) <= 2e-2);
  }
}
