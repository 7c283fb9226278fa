// SPDX-License-Identifier: Apache-2.0
// entrain-test: emulated, because its ranks are threads that share one device, slow
#include "../catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/sharded.hpp>

#include "device_test.hpp"
#include "nccl_trainers.hpp"

// Optimizer state in shards on the devices, by comm::nccl: the bits of parallel::data there, whose sums have the same order in the
// emulation, and a p-th of its state.

using namespace entrain;

namespace {

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const optim::adamw adam{.learning_rate = 0.01};
const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_device_shards_" + std::to_string(::getpid()));

template <class... What>
test::nccl_outcome train(int ranks, std::uint64_t to, const What&... what) { return test::train_by_nccl(ranks, to, what..., engine::cuda{}); }

constexpr std::uint64_t steps = 8;

// In buckets of some layers, and in one with a long padding.
template <class Model, class Optimizer, class... More>
void check_as_data(int ranks, const Model& model, const Optimizer& optimizer, const More&... more) {
  const auto expected = train(ranks, steps, model, optimizer, parallel::data{}, more...);
  REQUIRE(expected.losses.size() == steps);
  for (const std::size_t bytes : {std::size_t(200), std::size_t(1) << 20}) {
    CAPTURE(ranks, bytes);
    const auto found = train(ranks, steps, model, optimizer, parallel::sharded{.bucket_bytes = bytes}, more...);
    CHECK(found.losses == expected.losses);
    CHECK(found.parameters == expected.parameters);
    CHECK(found.evaluated == expected.evaluated);
    CHECK(found.counted == found.planned);
  }
}

}  // namespace

TEST_CASE("shards on devices train as whole state does, bit for bit", "[nccl]") {
  for (const int ranks : {1, 2, 3, 4}) check_as_data(ranks, perceptron, adam);
  check_as_data(3, perceptron, optim::sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  CHECK_THAT(train(2, 1, perceptron, adam, parallel::sharded{}).explained, Catch::Contains("on the device, ") && Catch::Contains("reduce_scatter"));
}

TEST_CASE("also in mixed precision, which keeps a shard in more bits", "[nccl]") {
  check_as_data(3, perceptron, adam, precision::bf16_mixed{});
  check_as_data(2, perceptron, adam, precision::bf16_mixed{.stochastic_rounding = true});
  check_as_data(2, perceptron, adam, precision::fp16_mixed{.first_scale = 0x1p8});
  const precision::fp16_mixed too_large{.first_scale = 0x1p20};  // the first steps are left out
  CHECK(train(2, steps, perceptron, adam, parallel::sharded{}, too_large).parameters == train(2, steps, perceptron, adam, parallel::data{}, too_large).parameters);
}

TEST_CASE("clipping sees the norm of all shards, batch norm is observed by all ranks", "[nccl]") {
  const auto clipped = optim::clipped{adam, 0.05};
  const auto whole = train(3, steps, perceptron, clipped, parallel::data{}), free = train(3, steps, perceptron, adam, parallel::data{});
  const auto found = train(3, steps, perceptron, clipped, parallel::sharded{.bucket_bytes = 200, .accumulate = 2});
  CHECK(test::distance(found.losses, whole.losses) <= 1e-5);
  CHECK(test::distance(found.parameters, whole.parameters) <= 1e-4);
  CHECK(test::distance(found.parameters, free.parameters) > 1e-3);
  CHECK(found.counted == found.planned);
  check_as_data(3, nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{8}, nn::relu, nn::linear{3}}, {6}, 3}, adam);
}

TEST_CASE("whole state and shards go on from each other's checkpoints bit for bit", "[nccl]") {
  const auto check = [](const auto&... precision) {
    const checkpoint::safetensors here{.directory = folder.string(), .every = 4};
    const parallel::sharded shards{.bucket_bytes = 200};
    std::filesystem::remove_all(folder);
    const auto expected = train(3, steps, perceptron, adam, shards, precision...);
    for (const bool first_sharded : {true, false})
      for (const int ranks : {3, 2}) {
        CAPTURE(first_sharded, ranks);
        std::filesystem::remove_all(folder);
        if (first_sharded) train(3, 4, perceptron, adam, shards, here, precision...);
        else train(3, 4, perceptron, adam, parallel::data{}, here, precision...);
        const auto second = first_sharded && ranks == 2 ? train(ranks, steps, perceptron, adam, parallel::data{}, here, precision...) : train(ranks, steps, perceptron, adam, shards, here, precision...);
        CHECK(second.losses.size() == 4);
        if (ranks == 3) CHECK(second.parameters == expected.parameters);
        else CHECK(test::distance(second.parameters, expected.parameters) <= 2e-2);
      }
    std::filesystem::remove_all(folder);
  };
  check();
  check(precision::bf16_mixed{.stochastic_rounding = true});
}

TEST_CASE("the host goes on from shards on devices", "[nccl]") {
  const checkpoint::safetensors here{.directory = folder.string(), .every = 4};
  std::filesystem::remove_all(folder);
  const auto expected = train(2, steps, perceptron, adam, parallel::sharded{});
  train(2, 4, perceptron, adam, parallel::sharded{}, here);
  const auto found = test::train_by_threads(2, steps, perceptron, adam, parallel::sharded{}, here);
  CHECK(test::distance(found.parameters, expected.parameters) <= 1e-3);
  std::filesystem::remove_all(folder);
}

TEST_CASE("with a compressor, shards on the host", "[nccl]") {
  const auto found = train(2, steps, perceptron, adam, parallel::sharded{}, compress::cast<bfloat16>{}), plain = train(2, steps, perceptron, adam, parallel::sharded{});
  CHECK(test::distance(found.losses, plain.losses) <= 2e-2);
  CHECK(found.losses != plain.losses);
}
