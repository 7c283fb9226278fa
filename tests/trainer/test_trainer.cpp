// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/monitor/record.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

using namespace entrain;
using Catch::Matchers::Contains;

namespace {

// A folder of this process that goes when the test does.
struct temporary_folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("entrain-trainer-" + std::to_string(::getpid()));
  temporary_folder() { std::filesystem::remove_all(path); }
  ~temporary_folder() { std::filesystem::remove_all(path); }
};

const optim::adamw adamw{.learning_rate = 0.05};
const test::plane plane_data{.samples = 53};

template <class Parallelism, class Compression>
std::vector<float> whole_run(int ranks, const Parallelism& form, const Compression& compressor, std::uint64_t steps) {
  std::vector<float> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{test::line<float>{}, adamw, world, form, compressor};
    run.fit(plane_data, {.steps = steps, .batch = 8});
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

template <class Parallelism, class Compression>
std::vector<float> interrupted_run(const std::filesystem::path& folder, int ranks, int ranks_after, const Parallelism& form, const Compression& compressor) {
  std::filesystem::remove_all(folder);
  std::vector<float> out;
  const checkpoint::safetensors keep{.directory = folder.string(), .every = 5};
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{test::line<float>{}, adamw, world, form, compressor, keep};
    run.fit(plane_data, {.steps = 13, .batch = 8});  // the checkpoint of step 10 is the last
  });
  comm::run_ranks(ranks_after, [&](comm::threads& world) {
    trainer run{test::line<float>{}, adamw, world, form, compressor, keep};
    run.fit(plane_data, {.steps = 25, .batch = 8, .resume = true});
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - double(b[i])));
  return worst;
}

}  // namespace

TEST_CASE("a resumed run equals the uninterrupted one bit for bit", "[trainer]") {
  const temporary_folder folder;
  for (const int ranks : {1, 2, 3}) {
    CAPTURE(ranks);
    const auto check = [&](const auto& form, const auto& compressor) {
      CHECK(interrupted_run(folder.path, ranks, ranks, form, compressor) == whole_run(ranks, form, compressor, 25));
    };
    check(parallel::data{}, compress::none{});
    check(parallel::sharded{.bucket_bytes = 64}, compress::none{});
    check(parallel::data{.accumulate = 2}, compress::error_feedback{compress::top_k{.ratio = 0.3}});
    check(parallel::sharded{.bucket_bytes = 64}, compress::error_feedback{compress::cast<bfloat16>{}});
  }
}

TEST_CASE("a run resumes on another number of ranks and with another parallel form", "[trainer]") {
  const temporary_folder folder;
  const auto truth = whole_run(1, parallel::data{}, compress::none{}, 25);
  CHECK(difference(interrupted_run(folder.path, 3, 2, parallel::sharded{.bucket_bytes = 64}, compress::none{}), truth) < 1e-5);
  CHECK(difference(interrupted_run(folder.path, 1, 4, parallel::data{}, compress::none{}), truth) < 1e-5);
  CHECK_NOTHROW(interrupted_run(folder.path, 3, 2, parallel::data{}, compress::error_feedback{compress::top_k{.ratio = 0.3}}));
}

TEST_CASE("a pipeline resumes bit for bit, and its checkpoint serves other parallel forms", "[trainer]") {
  const temporary_folder folder;
  const nn::mlp model{.inputs = 6, .hidden = {8, 7, 8}, .outputs = 3};
  const checkpoint::safetensors keep{.directory = folder.path.string(), .every = 4};
  const auto train = [&](int ranks, const auto& form, std::uint64_t steps, bool resume) {
    std::vector<float> out;
    comm::run_ranks(ranks, [&](comm::threads& world) {
      trainer run{model, adamw, world, form, keep};
      run.fit(test::clusters{}, {.steps = steps, .batch = 10, .resume = resume});
      run.assemble_parameters();
      if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
    });
    return out;
  };
  const parallel::pipeline<> cut{.micro_batches = 3};
  const auto truth = train(3, cut, 12, false);
  std::filesystem::remove_all(folder.path);
  train(3, cut, 8, false);
  CHECK(train(3, cut, 12, true) == truth);
  std::filesystem::remove(folder.path / "step-00000012.safetensors");
  CHECK(difference(train(2, parallel::sharded{.bucket_bytes = 64}, 12, true), truth) < 1e-5);
}

TEST_CASE("resume without a checkpoint starts anew; a foreign checkpoint is refused by name", "[trainer]") {
  const temporary_folder folder;
  const checkpoint::safetensors keep{.directory = folder.path.string(), .every = 2};
  trainer first{test::line<float>{}, adamw, keep};
  CHECK_FALSE(first.resume());
  first.fit(plane_data, {.steps = 2, .batch = 8});
  trainer other{test::line<float>{.features = 4}, adamw, keep};
  CHECK_THROWS_WITH(other.resume(), Contains("parameters.weight") && Contains("expected") && Contains("found"));
}

TEST_CASE("any rank may ask to stop, and all stop after the same step", "[trainer]") {
  std::array<std::uint64_t, 3> stopped{};
  comm::run_ranks(3, [&](comm::threads& world) {
    trainer run{test::line<float>{}, adamw, world};
    regression_batch batch;
    const std::vector<std::uint64_t> own{std::uint64_t(world.rank())};
    plane_data.fill(own, batch);
    for (std::uint64_t step = 0; step < 100; ++step) {
      if (world.rank() == 1 && step == 7) run.request_stop();
      stopped[std::size_t(world.rank())] = step;
      if (run.step(batch).stop) break;
    }
  });
  CHECK(stopped == std::array<std::uint64_t, 3>{7, 7, 7});
}

TEST_CASE("fit ends early when a monitor's thread asks, and says so", "[trainer]") {
  struct counter {
    using slot_type = slot::monitor;
    std::atomic<int>* steps;
    void step(const monitor::step_event&) { ++*steps; }
  };
  std::atomic<int> taken = 0;
  trainer run{test::line<float>{}, adamw, counter{&taken}};
  std::thread impatient([&] {
    while (taken < 5) std::this_thread::yield();
    run.request_stop();
  });
  const auto summary = run.fit(plane_data, {.steps = 100000000, .batch = 8});
  impatient.join();
  CHECK(summary.stopped_early);
  CHECK(summary.steps >= 5);
}

TEST_CASE("ranks that were composed differently are told so instead of hanging", "[trainer]") {
  CHECK_THROWS_WITH(comm::run_ranks(3, [](comm::threads& world) {
                      const std::size_t features = world.rank() == 2 ? 6 : 5;
                      trainer run{test::line<float>{.features = features}, adamw, world};
                    }),
                    Contains("ranks disagree about the model's parameter blocks") && Contains("rank(s) 2"));
  CHECK_THROWS_WITH(comm::run_ranks(2, [](comm::threads& world) {
                      trainer run{test::line<float>{}, adamw, world, parallel::data{.bucket_bytes = world.rank() == 0 ? std::size_t(64) : std::size_t(1000)}};
                    }),
                    Contains("ranks disagree about the plan"));
}

TEST_CASE("a rank that throws in a step ends the job with its own message", "[trainer]") {
  for (const char* point : {"step", "update"})
    CHECK_THROWS_WITH(comm::run_ranks(3, [&](comm::threads& world) {
                        trainer run{test::line<float>{}, adamw, world, fault::throw_at{.rank = 1, .step = 4, .point = point}};
                        run.fit(plane_data, {.steps = 10, .batch = 8});
                      }),
                      Contains("injected") && Contains("rank 1"));
}

TEST_CASE("arguments may stand in any order and mean the same", "[trainer]") {
  trainer a{test::line<float>{}, adamw, parallel::sharded{}, compress::cast<bfloat16>{}};
  trainer b{compress::cast<bfloat16>{}, parallel::sharded{}, adamw, test::line<float>{}};
  a.fit(plane_data, {.steps = 5, .batch = 8});
  b.fit(plane_data, {.steps = 5, .batch = 8});
  CHECK(std::equal(a.parameters().begin(), a.parameters().end(), b.parameters().begin()));
  CHECK(a.describe() == b.describe());
  CHECK_THAT(a.describe(), Contains("cast<bf16>") && Contains("sharded") && Contains("6 parameters in 2 blocks"));
}

TEST_CASE("monitors hear of every step, and of its bytes", "[trainer]") {
  std::vector<monitor::step_event> events;
  trainer run{test::line<float>{}, adamw, monitor::record{events}};
  const auto summary = run.fit(plane_data, {.epochs = 2, .batch = 8});
  REQUIRE(events.size() == 14);
  CHECK(summary.steps == 14);
  CHECK(events[6].count == 53 - 6 * 8);  // the last batch of an epoch is what is left
  CHECK(summary.count == 106);
  CHECK(events[0].loss == summary.first_loss);
  CHECK(events.back().loss == summary.last_loss);
  for (const auto& e : events) CHECK(e.seconds >= e.compute_seconds);
}

TEST_CASE("nonsense options are refused by name", "[trainer]") {
  trainer run{test::line<float>{}, adamw};
  CHECK_THROWS_WITH(run.fit(plane_data, {.steps = 1, .batch = 0}), Contains("the batch is empty"));
  CHECK_THROWS_WITH(run.fit(test::plane{.samples = 0}, {.steps = 1}), Contains("no samples"));
}
