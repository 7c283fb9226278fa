// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/trainer/public_weights.hpp>
#include <entrain/trainer/trainer.hpp>

#include "device_test.hpp"

// Public weights reach a device's memory, also that in which a model computes with fewer bits, and come back from it.

using namespace entrain;
namespace fs = std::filesystem;

namespace {

const fs::path public_file = fs::path(ENTRAIN_SOURCE_DIR) / "tests/checkpoint/public/model.safetensors";

// The batch of tests/checkpoint/make_public_weights.py.
struct two_sentences {
  using batch_type = token_batch;
  std::uint64_t size() const { return 2; }
  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    static constexpr std::int32_t tokens[2][8] = {{1, 5, 9, 2, 5, 9, 2, 7}, {10, 0, 3, 3, 0, 3, 3, 8}};
    batch.resize(indices.size(), 4);
    for (std::size_t s = 0; s < indices.size(); ++s)
      for (std::size_t t = 0; t < 4; ++t) batch.inputs[s * 4 + t] = tokens[indices[s]][t], batch.targets[s * 4 + t] = tokens[indices[s]][4 + t];
  }
};

template <class Precision>
void check(const Precision& bits, double tolerance) {
  const double told = std::stod(*checkpoint::safetensors_file(public_file).find_metadata("loss"));
  const fs::path written = fs::temp_directory_path() / ("entrain_device_weights_" + std::to_string(::getpid()) + ".safetensors");
  comm::run_ranks(2, [&](comm::threads& world) {
    const nn::gpt tiny{.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = 11};
    trainer run{tiny, optim::adamw{.learning_rate = 0.01}, engine::cuda{}, bits, world};
    load_public_weights(run, public_file);
    if (const double loss = run.evaluate(two_sentences{}).mean(); !(std::abs(loss - told) < tolerance)) throw error("loss", "another", std::to_string(told), std::to_string(loss));
    run.fit(two_sentences{}, {.steps = 2, .batch = 2});
    save_public_weights(run, written);
    trainer again{tiny, optim::adamw{}, engine::cuda{}, bits, world};
    load_public_weights(again, written);
    run.assemble_parameters();
    again.assemble_parameters();
    if (!std::equal(run.parameters().begin(), run.parameters().end(), again.parameters().begin())) throw error("weights", "did not come back");
    if (run.evaluate(two_sentences{}).sum != again.evaluate(two_sentences{}).sum) throw error("loss", "not that of the weights that were saved");
  });
  fs::remove(written);
}

}  // namespace

TEST_CASE("public weights on a device", "[device]") {
  CHECK_NOTHROW(check(precision::fp32{}, 1e-5));
  CHECK_NOTHROW(check(precision::bf16_mixed{}, 0.1));
}
