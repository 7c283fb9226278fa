// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

// What a compressor remembers is part of a checkpoint: a run that was interrupted ends where the other one ends, bit for bit, also
// when the gradients are grouped into other buckets afterwards. On another number of ranks it goes on with nothing lost.

using namespace entrain;

namespace {

const nn::mlp model{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
const optim::sgd optimizer{.learning_rate = 0.05, .momentum = 0.9};
const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_resume_" + std::to_string(::getpid()));

template <class C, class Optimizer>
std::vector<float> train(int ranks, const C& c, std::size_t bucket_bytes, std::uint64_t steps, bool resume, bool keeps, const Optimizer& with) {
  std::vector<float> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{model, with, world, c, parallel::data{.bucket_bytes = bucket_bytes}, checkpoint::safetensors{.directory = folder.string(), .every = keeps ? 5u : 1000u}};
    run.fit(test::clusters{}, {.steps = steps, .batch = 8, .resume = resume});
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

template <class C, class Optimizer = optim::sgd>
void check(const C& c, const Optimizer& with = optimizer) {
  for (const int ranks : {1, 3}) {
    CAPTURE(describe(c), ranks);
    std::filesystem::remove_all(folder);
    const auto whole = train(ranks, c, 1000, 16, false, false, with);
    std::filesystem::remove_all(folder);
    train(ranks, c, 1000, 8, false, true, with);  // the checkpoint of step 5 is the last but that of the end
    CHECK(train(ranks, c, 64, 16, true, true, with) == whole);
    CHECK_NOTHROW(train(ranks + 1, c, 200, 20, true, true, with));
    std::filesystem::remove_all(folder);
  }
}

}  // namespace

TEST_CASE("compressors resume: residuals, by every way", "[compress]") {
  using namespace compress;
  check(error_feedback{top_k{.ratio = 0.1}});
  check(error_feedback{travel{top_k{.ratio = 0.1}, way::sparse}});
  check(error_feedback{scaled{qsgd{.levels = 2, .bucket = 16}}});
  check(error_feedback{sign{}});
}

TEST_CASE("compressors resume: choosers, also over a change", "[compress]") {
  using namespace compress;
  check(per_layer{rule{error_feedback{top_k{.ratio = 0.1}}, {.matrices = true}}, none{}});
  check(after{3, error_feedback{top_k{.ratio = 0.1}}});
  check(after{12, error_feedback{top_k{.ratio = 0.1}}});
}

// What is drawn depends on all norms so far: the bandit's weights are part of the checkpoint. Its rate is so high that they move.
TEST_CASE("compressors resume: JointSpar goes on drawing as it would have, also with LARS", "[compress]") {
  using namespace compress;
  const jointspar drawn{.share = 0.5, .floor = 0.1, .rate = 0.1}, blocks{.share = 0.5, .floor = 0.1, .rate = 0.1, .layers = false};
  check(drawn);
  check(blocks);
  check(drawn, optim::lars{.learning_rate = 0.01, .trust = 1, .momentum = 0, .weight_decay = 0, .adapt_vectors = true});  // the form of the paper
  check(drawn, optim::lars{.learning_rate = 0.5});
  check(per_layer{rule{drawn, {.matrices = true}}, none{}});
  check(after{3, drawn});
}

// Costs are measured, and on another day they come out otherwise: what the first run decided stays, until the end and on any number of
// ranks. Blocks of 48, 8, 56, 7, 21 and 3 values; 1 us a message and 1 GB/s.
TEST_CASE("compressors resume: what was measured and decided once stays decided", "[compress]") {
  using namespace compress;
  const error_feedback sparse{top_k{.ratio = 0.1}};
  const wires gigabyte = wires::uniform(1e-6, 1e9);
  const auto check_decided = [&](const auto& first, const auto& again) {
    for (const int ranks : {2, 3}) {
      CAPTURE(describe(first), ranks);
      std::filesystem::remove_all(folder);
      const auto whole = train(ranks, first, 1000, 16, false, false, optimizer);
      std::filesystem::remove_all(folder);
      CHECK(train(ranks, again, 1000, 16, false, false, optimizer) != whole);
      std::filesystem::remove_all(folder);
      train(ranks, first, 1000, 8, false, true, optimizer);
      CHECK(train(ranks, again, 64, 12, true, true, optimizer) == train(ranks, first, 64, 12, true, true, optimizer));
      CHECK(train(ranks, again, 64, 16, true, true, optimizer) == whole);  // kept on by the second checkpoint, too
      CHECK_NOTHROW(train(ranks + 1, again, 200, 20, true, true, optimizer));
      std::filesystem::remove_all(folder);
    }
  };
  const selective all{sparse, gigabyte, {}}, nothing{sparse, gigabyte, {.fixed = 1}}, large{sparse, gigabyte, {.fixed = 1.1e-7}};
  check_decided(all, nothing);
  check_decided(nothing, all);
  check_decided(after{3, all}, after{3, nothing});
  check_decided(per_layer{all, cast<bfloat16>{}}, per_layer{nothing, cast<bfloat16>{}});
  check_decided(per_layer{rule{large, {.matrices = true}}, none{}}, per_layer{rule{nothing, {.matrices = true}}, none{}});

  // Given rules are no measurements: whoever changes them means it.
  const auto at_least = [&](std::size_t n) { return per_layer{rule{cast<bfloat16>{}, {.at_least = n}}, none{}}; };
  std::filesystem::remove_all(folder);
  train(2, at_least(1), 1000, 5, false, true, optimizer);
  const auto changed = train(2, at_least(1000), 1000, 9, true, false, optimizer);
  std::filesystem::remove_all(folder);
  train(2, at_least(1), 1000, 5, false, true, optimizer);
  CHECK(train(2, at_least(1), 1000, 9, true, false, optimizer) != changed);
  std::filesystem::remove_all(folder);
}
