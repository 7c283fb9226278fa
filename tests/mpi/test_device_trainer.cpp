// SPDX-License-Identifier: Apache-2.0
// entrain-test: device
#include "../catch.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <entrain/comm/comm.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../device/device_test.hpp"
#include "../trainer/losses.hpp"
#include "../trainer/models.hpp"
#include "world.hpp"

// Processes with a device each, whose gradients travel by MPI: they learn what one rank learns.

using namespace entrain;
using test::losses_to;

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

// What MPI says about device memory, which in emulation is host memory and can be reached.
struct environment {
  explicit environment(bool aware) { ::setenv("ENTRAIN_CUDA_AWARE_MPI", aware ? "1" : "0", 1); }
  ~environment() { ::unsetenv("ENTRAIN_CUDA_AWARE_MPI"); }
};

const std::string direct = "straight from device memory", staged = "through pinned host memory";

// All processes learn the same, and what one rank learns that has all samples: whether MPI reaches device memory or not, by the way that
// is expected then.
template <class... Arguments>
void check_against_one_rank(const std::string& way_if_aware, double tolerance, const Arguments&... arguments) {
  outcome alone;
  if (tests::world().rank() == 0) {
    comm::self one;
    alone = train(one, arguments...);
  }
  for (const bool aware : {false, true}) {
    const environment said(aware);
    comm::mpi world{tests::world().native_handle()};
    const auto found = train(world, arguments...);
    REQUIRE(found.losses.size() == steps);
    CHECK(found.counted == found.planned);
    if (world.size() > 1) CHECK_THAT(found.explained, Catch::Contains(aware ? way_if_aware : staged));
    auto of_first = found.parameters;
    comm::broadcast(world, of_first, 0);
    CHECK(found.parameters == of_first);
    if (world.rank() != 0) continue;
    CHECK(test::distance(found.losses, alone.losses) <= tolerance);
    CHECK(test::distance(found.parameters, alone.parameters) <= 10 * tolerance);
  }
}

}  // namespace

TEST_CASE("processes with a device each learn what one learns, by way of host memory or straight from device memory", "[device]") {
  const optim::clipped clipped{optim::sgd{.learning_rate = 0.5, .momentum = 0.9}, 0.1};
  check_against_one_rank(direct, 1e-4, perceptron, test::clusters{}, clipped, parallel::data{.bucket_bytes = 200, .accumulate = 2});
  check_against_one_rank(direct, 1e-4, language, sequences{}, optim::sgd{.learning_rate = 0.1}, parallel::data{.bucket_bytes = 2000});
}

TEST_CASE("on two ranks both ways give the same bits", "[device]") {  // sums of two numbers have no order
  if (tests::world().size() != 2) return;
  const auto learn = [](bool aware) {
    const environment said(aware);
    comm::mpi world{tests::world().native_handle()};
    return train(world, perceptron, test::clusters{}, optim::adamw{.learning_rate = 0.01}, parallel::data{.bucket_bytes = 200}).parameters;
  };
  CHECK(learn(true) == learn(false));
}

TEST_CASE("16-bit gradients go through host memory in any case", "[device]") {
  check_against_one_rank(staged, 2e-2, perceptron, test::clusters{}, optim::adamw{.learning_rate = 0.01}, precision::bf16_mixed{});
}
