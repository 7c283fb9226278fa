// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "device_test.hpp"
#include "trainers.hpp"

// The same trainers on a device: losses, parameters and checkpoints are the host's, up to rounding. Whole models: test_trainer_cnn.cpp,
// test_trainer_gpt.cpp; optimizers that need a block's norm: test_trainer_norms.cpp.

using namespace entrain;
using test::check_same, test::sequences, test::train;

namespace {

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const nn::gpt language{.layers = 1, .heads = 2, .width = 32, .context = 12, .vocabulary = 23, .dropout = 0.1f};
const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_device_" + std::to_string(::getpid()));

}  // namespace

TEST_CASE("an MLP on the device learns what it learns on the host", "[device]") {
  for (const std::size_t accumulate : {1, 2}) {
    const parallel::data form{.bucket_bytes = 200, .accumulate = accumulate};
    const auto host = train(1, perceptron, test::clusters{}, 20, 8, optim::adamw{.learning_rate = 0.01}, form);
    check_same(train(1, perceptron, test::clusters{}, 20, 8, optim::adamw{.learning_rate = 0.01}, form, engine::cuda{}), host, 1e-4);
    const auto clipped = optim::clipped{optim::sgd{.learning_rate = 0.5, .momentum = 0.9}, 0.1};
    check_same(train(1, perceptron, test::clusters{}, 20, 8, clipped, form, engine::cuda{}), train(1, perceptron, test::clusters{}, 20, 8, clipped, form), 1e-4);
  }
}

TEST_CASE("as the documentation shows it", "[device]") {
  comm::self world;
  //! [cuda]
  trainer run{nn::gpt{.layers = 1, .heads = 2, .width = 32, .context = 12, .vocabulary = 23}, optim::adamw{.learning_rate = 3e-3}, world, engine::cuda{}, precision::bf16_mixed{}};
  run.fit(sequences{}, {.steps = 3, .batch = 4});
  run.assemble_parameters();  // brings them to the host
  //! [cuda]
  CHECK(run.parameters().size() > 0);
  CHECK(run.describe().find("bf16_mixed") != std::string::npos);
}

TEST_CASE("mixed precision stays close to fp32 and keeps its parameters in fp32", "[device]") {
  const optim::adamw optimizer{.learning_rate = 3e-3};
  const auto whole = train(1, language, sequences{}, 20, 4, optimizer, engine::cuda{});
  const auto mixed = train(1, language, sequences{}, 20, 4, optimizer, engine::cuda{}, precision::bf16_mixed{});
  CHECK(test::distance(mixed.losses, whole.losses) <= 2e-2);
  CHECK(mixed.losses.back() < 0.9 * mixed.losses.front());
  std::size_t finer = 0;
  for (const float p : mixed.parameters) finer += float(bfloat16(p)) != p;
  CHECK(finer > mixed.parameters.size() / 2);
}

TEST_CASE("ranks on the device are one rank, with and without a compressor", "[device]") {
  const optim::sgd optimizer{.learning_rate = 0.1};
  const parallel::data form{.bucket_bytes = 100};
  const auto one = train(1, perceptron, test::clusters{}, 12, 6, optimizer, form, engine::cuda{});
  for (const int ranks : {2, 3, 4}) check_same(train(ranks, perceptron, test::clusters{}, 12, 6, optimizer, form, engine::cuda{}), one, 1e-4);
  const compress::error_feedback sparse{compress::top_k{.ratio = 0.1}};
  for (const int ranks : {1, 2})
    check_same(train(ranks, perceptron, test::clusters{}, 12, 6, optimizer, form, sparse, engine::cuda{}), train(ranks, perceptron, test::clusters{}, 12, 6, optimizer, form, sparse), 1e-3);
  const auto mixed = train(2, perceptron, test::clusters{}, 12, 6, optimizer, form, engine::cuda{}, precision::bf16_mixed{});
  CHECK(test::distance(mixed.losses, one.losses) <= 3e-2);
}

TEST_CASE("host and device go on from each other's checkpoints; on one engine bit for bit", "[device]") {
  const optim::adamw optimizer{.learning_rate = 0.01};
  const compress::error_feedback sparse{compress::top_k{.ratio = 0.2}};
  const auto run = [&](std::uint64_t steps, bool keeps, auto... engine) {
    return train(2, perceptron, test::clusters{}, steps, 8, optimizer, sparse, checkpoint::safetensors{.directory = folder.string(), .every = keeps ? 5u : 1000u}, engine...);
  };
  std::filesystem::remove_all(folder);
  const auto whole = run(16, false, engine::cuda{});
  std::filesystem::remove_all(folder);
  run(8, true, engine::cuda{});
  CHECK(run(16, false, engine::cuda{}).parameters == whole.parameters);
  CHECK(test::distance(run(16, false).parameters, whole.parameters) <= 1e-3);
  std::filesystem::remove_all(folder);
  run(8, true);
  CHECK(test::distance(run(16, false, engine::cuda{}).parameters, whole.parameters) <= 1e-3);
  std::filesystem::remove_all(folder);
}

#if !defined(__CUDACC__)
TEST_CASE("after the first step nothing is allocated on the device", "[device]") {
  comm::run_ranks(2, [&](comm::threads& world) {
    trainer run{perceptron, optim::clipped{optim::adamw{}, 1.0}, world, engine::cuda{}, precision::bf16_mixed{}};
    labelled_batch batch;
    const std::vector<std::uint64_t> indices{1, 2, 3, 4};
    test::clusters{}.fill(indices, batch);
    for (int i = 0; i < 2; ++i) run.step(batch);
    comm::barrier(world);
    const long before = emulated::allocations;
    comm::barrier(world);
    for (int i = 0; i < 3; ++i) run.step(batch);
    comm::barrier(world);
    CHECK(emulated::allocations == before);
  });
}

TEST_CASE("the host waits for the loss of a step, and to watch a scale for the norm, but not to clip", "[device]") {
  const auto waits_of = [](const auto& model, const auto& optimizer, const auto&... precision) {
    trainer run{model, optimizer, engine::cuda{}, precision...};
    labelled_batch batch;
    const std::vector<std::uint64_t> indices{1, 2, 3, 4};
    test::clusters{}.fill(indices, batch);
    run.step(batch);
    const long before = emulated::waits;
    run.step(batch);
    return emulated::waits - before;
  };
  const auto waits = [&](const auto&... what) { return waits_of(perceptron, what...); };
  const long plain = waits(optim::adamw{});
  CHECK(plain >= 1);
  CHECK(waits(optim::clipped{optim::adamw{}, 0.1}) == plain);
  CHECK(waits(optim::clipped{optim::lamb{}, 0.1}, precision::bf16_mixed{}) == plain);
  CHECK(waits(optim::clipped{optim::adamw{}, 0.1}, precision::fp16_mixed{}) == plain + 1);
  CHECK(waits_of(nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{3}}, {6}, 3}, optim::adamw{}) == plain);
}
#endif
