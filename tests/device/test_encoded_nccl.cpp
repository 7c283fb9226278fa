// SPDX-License-Identifier: Apache-2.0
// entrain-test: emulated, because its ranks are threads that share one device, slow
#include "../catch.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "encoded_test.hpp"

// Encodings that comm::nccl takes from the device's memory: the bits of those that go through the host's.

using namespace entrain;
using compress::error_feedback;
using world_type = comm::nccl<comm::threads>;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out(1);
  for (const char c : text) c == '\n' ? void(out.emplace_back()) : out.back().push_back(c);
  return out;
}

// `direct`: nothing goes through host memory.
template <class C>
void check(int ranks, const C& c, bool direct, bool same_bits = true) {
  CAPTURE(ranks, entrain::describe(c), direct);
  const int groups = emulated::faults().groups;
  const auto found = test::exchange_some<float, parallel::encoded_exchange<float, float, engine::cuda_queue, world_type, C>, C, world_type>(ranks, c, 3000, false);
  CHECK((emulated::faults().groups > groups) == direct);
  const auto expected = test::exchange_some<float, parallel::encoded_exchange<float, float, engine::cuda_queue, comm::threads, C>>(ranks, c, 3000, false);
  if (same_bits) CHECK(found == expected);
  for (std::size_t step = 0; step < test::steps; ++step) CHECK(test::distance(found.sums[step], expected.sums[step]) <= 2e-2);
  CHECK(found.allocated == 0);
  CHECK(found.on_device == direct);
  for (const auto& line : lines_of(found.explained))
    if (!line.empty()) CHECK((line.find("encoded and exchanged on the device") != std::string::npos) == direct);
}

}  // namespace

TEST_CASE("encodings of fixed length travel from device to device", "[nccl][compress]") {
  for (const int ranks : {1, 2, 3, 4}) check(ranks, error_feedback{compress::sign{}}, true);
  check(3, compress::cast<float8_e4m3>{}, true);
  check(2, compress::cast<bfloat16>{}, true);
  check(3, compress::cast<bfloat16>{}, true, false);  // sums of 16 bits, in another order
  check(2, compress::random_k{.ratio = 0.2}, true);
  check(2, error_feedback{compress::travel{compress::top_k{.ratio = 0.05}, compress::way::gather}}, true);
}

TEST_CASE("others go through the host's memory by the same communicator", "[nccl][compress]") {
  check(2, error_feedback{compress::travel{compress::top_k{.ratio = 0.01}, compress::way::dense}}, false);
  check(2, error_feedback{compress::travel{compress::sampled_top_k{.ratio = 0.05}, compress::way::gather}}, false);
}

TEST_CASE("trainers of ranks on GPUs encode and exchange there", "[nccl][compress]") {
  const auto train = [](bool nccl) {
    std::vector<float> out;
    comm::run_ranks(2, [&](comm::threads& host) {
      const auto run_on = [&](auto& world) {
        trainer run{nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, optim::clipped{optim::sgd{.learning_rate = 0.2}, 0.5}, world, error_feedback{compress::sign{}}, engine::cuda{}};
        run.fit(test::clusters{}, {.steps = 6, .batch = 8});
        run.assemble_parameters();
        if (host.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
      };
      if (nccl) {
        comm::nccl world{host, 0, {.deadline = std::chrono::seconds(30)}};
        run_on(world);
      } else {
        run_on(host);
      }
    });
    return out;
  };
  CHECK(train(true) == train(false));
}

TEST_CASE("slow launches change nothing, and a rank that stays away is named", "[nccl][compress]") {
  emulated::faults().slow_launches = 5;
  check(2, error_feedback{compress::sign{}}, true);
  emulated::faults().slow_launches = 0;
  std::string said;
  comm::run_ranks(2, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::milliseconds(200)}};
    const auto engine = engine::cuda{}.start();
    const parameter_layout layout = test::some_blocks();
    const test::on_device<float> gradient = test::on_device<float>::zeros(layout.size());
    parallel::encoded_exchange<float, float, engine::cuda_queue, world_type, compress::sign> exchange(layout, engine, world, compress::sign{}, 1 << 20, false);
    exchange.begin_step({});
    if (host.rank() == 1) return;  // its end finalises, at most until the deadline
    try {
      for (std::size_t block = layout.blocks().size(); block-- > 0;) exchange.ready(block, view<float, cuda_space>(gradient.data(), gradient.size()));
      exchange.settle();
    } catch (const communication_error& e) {
      said = e.what();
    }
  });
  CHECK_THAT(said, Catch::Contains("rank 0 of 2") && Catch::Contains("all_gather #0"));
}
