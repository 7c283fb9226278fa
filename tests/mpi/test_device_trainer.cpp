// SPDX-License-Identifier: Apache-2.0
// entrain-test: device
#include "../catch.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <entrain/comm/comm.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../device/device_test.hpp"
#include "../trainer/models.hpp"
#include "world.hpp"

// Processes with a device each, whose gradients travel by MPI: they learn what one rank learns.

using namespace entrain;

namespace {

struct sequences {
  using batch_type = token_batch;
  std::size_t length = 4;
  std::uint64_t size() const { return 40; }
  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    batch.resize(indices.size(), length);
    for (std::size_t s = 0; s < indices.size(); ++s)
      for (std::size_t i = 0; i < length; ++i) {
        const auto token = [&](std::size_t at) { return std::int32_t((indices[s] * 5 + at * (1 + indices[s] % 3)) % 11); };
        batch.inputs[s * length + i] = token(i), batch.targets[s * length + i] = i % 5 == 4 ? -1 : token(i + 1);
      }
  }
};

struct losses_to {
  using slot_type = slot::monitor;
  std::vector<double>* to;
  void step(const monitor::step_event& e) { to->push_back(e.loss); }
};

struct outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  std::string explained;
  std::uint64_t planned = 0, counted = 0;
};

constexpr std::uint64_t steps = 3;  // little, because the emulation is slow

template <class World, class Model, class Data, class... More>
outcome train(World& world, const Model& model, const Data& data, const More&... more) {
  outcome out;
  trainer run{model, world, engine::cuda{}, losses_to{&out.losses}, more...};
  const auto before = world.counters().bytes;
  run.fit(data, {.steps = steps, .batch = 6});
  out.counted = world.counters().bytes - before, out.planned = steps * parallel::bytes_sent(run.plan(6));
  out.explained = run.explain();
  run.assemble_parameters();
  out.parameters.assign(run.parameters().begin(), run.parameters().end());
  return out;
}

const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const nn::gpt language{.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = 11, .dropout = 0.1f};

// All processes learn the same, and what one rank learns that has all samples.
template <class... Arguments>
void check_against_one_rank(double tolerance, const Arguments&... arguments) {
  auto& world = tests::world();
  const auto found = train(world, arguments...);
  REQUIRE(found.losses.size() == steps);
  CHECK(found.counted == found.planned);
  auto of_first = found.parameters;
  comm::broadcast(world, of_first, 0);
  CHECK(found.parameters == of_first);
  if (world.rank() != 0) return;
  comm::self one;
  const auto alone = train(one, arguments...);
  CHECK(test::distance(found.losses, alone.losses) <= tolerance);
  CHECK(test::distance(found.parameters, alone.parameters) <= 10 * tolerance);
}

}  // namespace

TEST_CASE("processes with a device each learn what one learns", "[device]") {
  for (const std::size_t bytes : {std::size_t(200), std::size_t(1) << 20})
    check_against_one_rank(1e-4, perceptron, test::clusters{}, optim::adamw{.learning_rate = 0.01}, parallel::data{.bucket_bytes = bytes});
  check_against_one_rank(1e-4, perceptron, test::clusters{}, optim::clipped{optim::sgd{.learning_rate = 0.5, .momentum = 0.9}, 0.1}, parallel::data{.bucket_bytes = 200, .accumulate = 2});
  check_against_one_rank(1e-4, language, sequences{}, optim::sgd{.learning_rate = 0.1}, parallel::data{.bucket_bytes = 2000});
}

TEST_CASE("in mixed precision, too", "[device]") {
  check_against_one_rank(2e-2, perceptron, test::clusters{}, optim::adamw{.learning_rate = 0.01}, precision::bf16_mixed{});
}
