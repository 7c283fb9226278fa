// SPDX-License-Identifier: Apache-2.0
// entrain-test: emulated, because its ranks are threads that share one device, slow
#include "../catch.hpp"

#include <chrono>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/natural.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>

#include "device_test.hpp"
#include "nccl_trainers.hpp"

// Gradients that are summed on the device, by comm::nccl: ranks learn what one rank learns, and what goes through host memory learns.

using namespace entrain;

using world_type = comm::nccl<comm::threads>;
static_assert(parallel::exchanges_on_device<float, engine::cuda_queue, world_type, compress::none>);
static_assert(!parallel::exchanges_on_device<float, engine::cuda_queue, world_type, compress::cast<bfloat16>>);
static_assert(!parallel::exchanges_on_device<float, engine::cuda_queue, comm::threads, compress::none>);

namespace {

constexpr std::uint64_t steps = 12;
const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};

template <class... What>
test::nccl_outcome direct(int ranks, const What&... what) { return test::train_by_nccl(ranks, steps, what..., engine::cuda{}); }
template <class... What>
test::nccl_outcome staged(int ranks, const What&... what) { return test::train_by_threads(ranks, steps, what..., engine::cuda{}); }

void check_same(const test::nccl_outcome& found, const test::nccl_outcome& expected, double tolerance) {
  REQUIRE(found.losses.size() == steps);
  CHECK(test::distance(found.losses, expected.losses) <= tolerance);
  CHECK(test::distance(found.parameters, expected.parameters) <= 10 * tolerance);
}

}  // namespace

TEST_CASE("ranks that sum on the device learn what one rank learns", "[nccl]") {
  const optim::adamw optimizer{.learning_rate = 0.01};
  const auto alone = staged(1, perceptron, optimizer);
  for (const int ranks : {1, 2, 3, 4})
    for (const std::size_t bytes : {std::size_t(200), std::size_t(1) << 20}) {
      const auto found = direct(ranks, perceptron, optimizer, parallel::data{.bucket_bytes = bytes});
      check_same(found, alone, 1e-4);
      CHECK(found.counted == found.planned);
      CHECK_THAT(found.explained, ranks == 1 ? Catch::Contains("nothing travels") : Catch::Contains("on the device, "));
    }
  CHECK(emulated::faults().groups > 0);
}

TEST_CASE("slow launches, accumulation and clipping change nothing", "[nccl]") {
  emulated::faults().slow_launches = 5;
  const auto clipped = optim::clipped{optim::sgd{.learning_rate = 0.5, .momentum = 0.9}, 0.1};
  const parallel::data form{.bucket_bytes = 200, .accumulate = 2};
  check_same(direct(2, perceptron, clipped, form), staged(2, perceptron, clipped, form), 1e-4);
  emulated::faults().slow_launches = 0;
}

TEST_CASE("in mixed precision sums are rounded, and learning goes on", "[nccl]") {
  const auto found = direct(2, perceptron, optim::adamw{.learning_rate = 0.01}, precision::bf16_mixed{}), through_host = staged(2, perceptron, optim::adamw{.learning_rate = 0.01}, precision::bf16_mixed{});
  CHECK(test::distance(found.losses, through_host.losses) <= 2e-2);
  CHECK(found.losses.back() < found.losses.front());
}

TEST_CASE("what kernels encode stays on the device; what the host must encode goes through its memory by the same communicator", "[nccl]") {
  const auto groups = [](const auto& compressor) {
    const int before = emulated::faults().groups;
    const auto found = direct(2, perceptron, optim::sgd{.learning_rate = 0.1}, compressor);
    const int seen = emulated::faults().groups - before;
    check_same(found, staged(2, perceptron, optim::sgd{.learning_rate = 0.1}, compressor), 1e-6);
    return seen;
  };
  CHECK(groups(compress::cast<bfloat16>{}) > 0);
  CHECK(groups(compress::natural{}) == 0);
}

TEST_CASE("a rank that stops ends training by name", "[nccl]") {
  std::vector<std::string> said(2);
  emulated::faults().never_complete = false;
  comm::run_ranks(2, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::milliseconds(200)}};
    const auto engine = engine::cuda{}.start();
    buffer<float, cuda_space> gradient(64);
    const parameter_layout layout = [] {
      parameter_layout made;
      made.add("w", {16}, block_kind::weight);
      return made;
    }();
    parallel::device_exchange<float, engine::cuda_queue, world_type> exchange(layout, engine, world, compress::none{}, 1 << 20, false);
    exchange.begin_step({});
    if (host.rank() == 1) return;  // its end finalises, at most until the deadline
    exchange.ready(0, gradient.all());
    try {
      exchange.settle();
    } catch (const communication_error& e) {
      said[0] = e.what();
    }
  });
  CHECK_THAT(said[0], Catch::Contains("rank 0 of 2") && Catch::Contains("all_reduce #0"));
}

TEST_CASE("what batch norm observes is summed where gradients are", "[nccl]") {
  const auto normalised = nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{8}, nn::relu, nn::linear{3}}, {6}, 3};
  const optim::sgd optimizer{.learning_rate = 0.1};
  for (const int ranks : {1, 2, 3}) {
    const auto found = direct(ranks, normalised, optimizer);
    check_same(found, staged(ranks, normalised, optimizer), 1e-4);
    CHECK(found.counted == found.planned);
  }
  const auto mixed = direct(2, normalised, optimizer, precision::bf16_mixed{}), through_host = staged(2, normalised, optimizer, precision::bf16_mixed{});
  CHECK(test::distance(mixed.losses, through_host.losses) <= 2e-2);
  CHECK(test::distance(mixed.parameters, through_host.parameters) <= 2e-2);
}
