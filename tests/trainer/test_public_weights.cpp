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
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/zero_one_adam.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/pipeline.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/public_weights.hpp>
#include <entrain/trainer/trainer.hpp>

using namespace entrain;
namespace fs = std::filesystem;

namespace {

const fs::path fixtures = fs::path(ENTRAIN_SOURCE_DIR) / "tests/checkpoint/public";

struct folder {
  fs::path path = fs::temp_directory_path() / ("entrain_trainer_weights_" + std::to_string(::getpid()));
  folder() { fs::remove_all(path), fs::create_directories(path); }
  ~folder() { fs::remove_all(path); }
};

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

const nn::gpt tiny{.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = 11};

// Loads on two ranks, compares the loss, trains, writes, and finds in the file what the trainer holds.
template <class Parallelism>
void check_under(const Parallelism& form, const fs::path& place) {
  const double told = std::stod(*checkpoint::safetensors_file(fixtures / "model.safetensors").find_metadata("loss"));
  comm::run_ranks(2, [&](comm::threads& world) {
    trainer run{tiny, optim::adamw{.learning_rate = 0.01}, world, form};
    load_public_weights(run, fixtures / "model.safetensors");
    if (const double loss = run.evaluate(two_sentences{}).mean(); std::abs(loss - told) > 1e-5) throw error("loss", "another", std::to_string(told), std::to_string(loss));
    const auto summary = run.fit(two_sentences{}, {.steps = 4, .batch = 2});
    if (!(summary.last_loss < told)) throw error("training", "does not go on from the weights");
    save_public_weights(run, place / "trained.safetensors");
    trainer again{tiny, optim::adamw{}, world, form};
    load_public_weights(again, place / "trained.safetensors");
    run.assemble_parameters();
    if (!std::equal(run.parameters().begin(), run.parameters().end(), again.parameters().begin())) throw error("weights", "did not come back");
  });
}

}  // namespace

TEST_CASE("public weights into a trainer and out of it", "[docs]") {
  const folder place;
  const fs::path gpt2 = fixtures / "model.safetensors", trained = place.path / "model.safetensors";
  //! [public_weights]
  trainer run{nn::gpt{.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = 11}, optim::adamw{}};
  load_public_weights(run, gpt2);
  run.fit(two_sentences{}, {.steps = 10, .batch = 2});
  save_public_weights(run, trained, checkpoint::gpt2_weights, {.type = dtype::bf16});
  //! [public_weights]
  const checkpoint::safetensors_file file(trained);
  REQUIRE(file.find("transformer.wte.weight"));
  CHECK(file.find("transformer.wte.weight")->description() == "BF16 [11, 8]");
}

TEST_CASE("public weights under every parallel form") {
  const folder place;
  CHECK_NOTHROW(check_under(parallel::data{}, place.path));
  CHECK_NOTHROW(check_under(parallel::sharded{}, place.path));
  CHECK_NOTHROW(check_under(parallel::pipeline<parallel::schedule::gpipe>{.micro_batches = 2}, place.path));
}

TEST_CASE("public weights that do not fit fail on every rank, and the trainer is as it was") {
  comm::run_ranks(3, [&](comm::threads& world) {
    trainer run{nn::gpt{.layers = 2, .heads = 2, .width = 8, .context = 4, .vocabulary = 11}, optim::adamw{}, world};
    const std::vector<float> before(run.parameters().begin(), run.parameters().end());
    std::string message;
    try {
      load_public_weights(run, fixtures / "model.safetensors");
    } catch (const error& e) { message = e.what(); }
    if (message.find("h.1.ln_1.weight") == message.npos) throw error("rank", "was not told why", "h.1.ln_1.weight", message);
    try {
      run.set_parameters([](const parameter_layout&, std::span<float> arena) {
        arena[0] = 100;
        throw usage_error("give", "stops half way");
      });
    } catch (const error& e) { message = e.what(); }
    if (message.find("half way") == message.npos) throw error("rank", "was not told why", "half way", message);
    if (!std::equal(before.begin(), before.end(), run.parameters().begin())) throw error("parameters", "changed");
    run.set_parameters([](const parameter_layout& layout, std::span<float> arena) { arena[layout[0].offset] = 0.25f; });
    if (run.parameters()[run.replica().layout()[0].offset] != 0.25f) throw error("parameters", "did not change");
  });
}

TEST_CASE("new parameters between synchronisations are refused on every rank") {
  const optim::zero_one_adam optimizer{.kappa = 1, .longest_variance_interval = 1, .double_every = 1, .longest_interval = 4};
  std::uint64_t local = 0, together = 0;  // the first local step, and the first after it that is none
  while (optimizer.synchronises(local)) ++local;
  for (together = local; !optimizer.synchronises(together);) ++together;
  comm::run_ranks(2, [&](comm::threads& world) {
    trainer run{tiny, optimizer, world};
    load_public_weights(run, fixtures / "model.safetensors");
    run.fit(two_sentences{}, {.steps = local + 1, .batch = 2});
    std::string message;
    try {
      load_public_weights(run, fixtures / "model.safetensors");
    } catch (const usage_error& e) { message = e.what(); }
    if (message.find("local steps") == message.npos) throw error("rank", "was not refused", "local steps", message);
    run.fit(two_sentences{}, {.steps = together + 1, .batch = 2});
    load_public_weights(run, fixtures / "model.safetensors");
  });
}
