// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <chrono>
#include <vector>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/losses.hpp"
#include "../trainer/models.hpp"
#include "device_test.hpp"

// Sharded state on a device with one rank of comm::nccl: what a machine with one GPU can run of it. (More ranks: test_device_shards.cpp,
// emulated.)

using namespace entrain;

TEST_CASE("shards of one rank train as whole state does, bit for bit", "[nccl]") {
  const auto train = [](const auto& form) {
    comm::self alone;
    comm::nccl world{alone, 0, {.deadline = std::chrono::seconds(60)}};
    std::vector<double> losses;
    trainer run{nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, optim::clipped{optim::adamw{.learning_rate = 0.01}, 0.1}, world, engine::cuda{}, precision::bf16_mixed{.stochastic_rounding = true},
                test::losses_to{&losses}, form};
    run.fit(test::clusters{}, {.steps = 8, .batch = 12});
    run.assemble_parameters();
    losses.insert(losses.end(), run.parameters().begin(), run.parameters().end());
    return losses;
  };
  const auto whole = train(parallel::data{}), shards = train(parallel::sharded{});
  CHECK(whole == shards);
}
