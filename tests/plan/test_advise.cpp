// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <entrain/comm/simulated.hpp>
#include <entrain/compress/after.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/elias_qsgd.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/selective.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/terngrad.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/plan/advise.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"

// plan::advise: the timeline by hand, advice on wires of three speeds, and what the virtual clock says to it.

using namespace entrain;
using compress::wires;

namespace {

const nn::gpt small{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65};

// Virtual seconds of a step of training, on average.
double simulated_step(const nn::mlp& model, double latency, double rate, const auto& policy) {
  constexpr std::size_t steps = 5;
  const auto report = comm::simulate(4, {.network = comm::network::uniform(latency, rate)}, [&](comm::simulated& world) {
    trainer run{model, optim::sgd{.learning_rate = 0.1}, world, policy};
    run.fit(test::clusters{}, {.steps = steps, .batch = 12, .seed = 3, .prefetch = false});
  });
  return report.finish / double(steps);
}

}  // namespace

TEST_CASE("the timeline of a step, by hand", "[plan]") {
  // Two blocks of 1024 values; backward takes the last 2 of 3 seconds, one second a block.
  const parameter_layout layout{{"first", {32, 32}}, {"second", {32, 32}}};
  plan::workload work{.compute = 3, .bucket_bytes = 1};
  const std::size_t begins = layout[1].offset;

  auto t = plan::step_time({{begins, 0, 0.5, 0, 10}, {0, 0, 0.5, 0, 10}}, layout, work);
  CHECK(t.step == Approx(3.5));  // the first message is hidden, the second begins when all is ready
  CHECK(t.waiting == Approx(0.5));
  CHECK(t.coding == 0);
  CHECK(t.wires == Approx(1));
  CHECK(t.bytes == 20);

  t = plan::step_time({{begins, 0, 2, 0, 0}, {0, 0, 0.5, 0, 0}}, layout, work);
  CHECK(t.step == Approx(4.5));  // the second waits for the wire: 2 + 2 + 0.5

  t = plan::step_time({{begins, 0.25, 0.5, 0.125, 0}, {0, 0.25, 0.5, 0.125, 0}}, layout, work);
  CHECK(t.step == Approx(3 + 0.5 + 0.5 + 0.125));  // the first is decoded while the second travels
  CHECK(t.coding == Approx(0.75));
  CHECK(t.waiting == Approx(0.375));

  work.overlap = false;
  t = plan::step_time({{begins, 0, 0.5, 0, 0}, {0, 0, 0.5, 0, 0}}, layout, work);
  CHECK(t.step == Approx(4));
}

TEST_CASE("advice with known figures", "[plan]") {
  // One bucket, no latency: 1 MB/s, 4 ranks. Dense: 2 * 0.75 * 40000 bytes = 60 ms.
  const parameter_layout layout{{"w", {100, 100}}};
  const auto w = wires::uniform(0, 1e6);
  const compress::cast<bfloat16> half{};
  const auto a = plan::advise(layout, 4, w, {.compute = 0.1}, plan::given{half, {.encode = 1e-7, .decode = 1e-7}}, plan::given{half, {.encode = 2e-6, .decode = 2e-6}},
                              plan::given{half, {.encode = 2.4e-6}});
  CHECK(a.dense.step == Approx(0.16));
  CHECK(a.dense.waiting == Approx(0.06));
  CHECK(a.dense.bytes == 60000);
  CHECK(a.compute_bound() == Approx(0.1 / 0.06));
  REQUIRE(a.policies.size() == 3);
  CHECK(a.policies[0].policy == "cast<bf16>");
  CHECK(a.policies[0].step == Approx(0.132));
  CHECK(a.policies[0].bytes == 30000);
  CHECK(a.policies[0].pays);
  CHECK(a.reason(a.policies[0]) == "pays: 1.21 times as fast");
  CHECK(a.policies[1].step == Approx(0.17));
  CHECK_FALSE(a.policies[1].pays);
  CHECK(a.reason(a.policies[1]) == "does not pay: coding takes 40 ms, saves 30 ms of waiting; compute-bound by 1.67");
  CHECK(a.policies[2].step == Approx(0.154));  // 4 % less: not worth a lossy exchange
  CHECK_FALSE(a.policies[2].pays);
  CHECK(a.reason(a.policies[2]) == "does not pay: coding takes 24 ms, saves 30 ms of waiting, 3.75 % of a step; compute-bound by 1.67");
  CHECK(plan::advise(layout, 4, w, {.compute = 0.1, .least_gain = 0.01}, plan::given{half, {.encode = 2.4e-6}}).policies[0].pays);

  const auto alone = plan::advise(layout, 1, w, {.compute = 0.1}, half);
  CHECK(alone.dense.step == Approx(0.1));
  CHECK_FALSE(alone.policies[0].pays);
  CHECK(alone.reason(alone.policies[0]) == "does not pay: nothing travels");
  CHECK_THROWS_AS(plan::advise(layout, 0, w, {.compute = 0.1}), usage_error);
  CHECK_THROWS_AS(plan::advise(layout, 2, w, {.compute = -1}), usage_error);
}

TEST_CASE("choosers are judged by what carries each block in the end", "[plan]") {
  const parameter_layout layout{{"large", {200, 100}}, {"small", {100}}};
  const auto w = wires::uniform(1e-6, 1e9);
  const compress::top_k sparse{.ratio = 0.01};
  const auto bytes = [&](const auto& policy) { return plan::advise(layout, 4, w, {.compute = 0.1}, policy).policies[0].bytes; };
  const double all = bytes(sparse), rule = bytes(compress::per_layer{compress::rule{sparse, {.at_least = 1000}}, compress::none{}});
  CHECK(all == 3 * 8 * (200 + 1));
  CHECK(bytes(compress::after{1000, sparse}) == all);
  CHECK(rule == 3 * 8 * 200 + w.time(comm::collective::all_reduce, 4, 100, 4).bytes);  // the small block densely
  CHECK(bytes(compress::selective{sparse, w, {.fixed = 1e-5}}) == rule);
  CHECK(bytes(compress::selective{sparse, w, {.fixed = 1}}) == Approx(plan::advise(layout, 4, w, {.compute = 0.1}).dense.bytes).epsilon(0.001));  // but for the padding
}

TEST_CASE("slow wires make compression pay, fast ones do not", "[plan]") {
  const compress::error_feedback sparse{compress::top_k{}};
  const auto ask = [&](double bits, double compute) {
    return plan::advise(small, 4, wires::uniform(5e-5, bits / 8), {.compute = compute}, compress::cast<bfloat16>{}, sparse, compress::qsgd{}, compress::terngrad{}, compress::sign{},
                        compress::elias_qsgd{});
  };
  const auto paying = [](const plan::advice& a) { return std::count_if(a.policies.begin(), a.policies.end(), [](const auto& v) { return v.pays; }); };
  const auto slow = ask(1e8, 0.2), fast = ask(1e10, 0.2);
  INFO(slow << fast);
  CHECK(paying(slow) >= 3);
  CHECK(slow.compute_bound() < 1);
  CHECK(paying(fast) <= 1);
  CHECK(fast.compute_bound() > 10);
  CHECK(slow.text().find("pays: ") != std::string::npos);
  CHECK(fast.text().find("does not pay: coding takes ") != std::string::npos);
  CHECK(fast.text().find("4 ranks, 200 ms of computing a step\npolicy") == 0);
}

TEST_CASE("the virtual clock agrees", "[plan][simulated]") {
  const nn::mlp model{.inputs = 6, .hidden = {300, 300}, .outputs = 3};
  // The wires for which comm::simulated chooses its algorithms, and slower ones of the same shape.
  for (const double slower : {1.0, 1000.0}) {
    const double latency = 1e-6 * slower, rate = 1e10 / slower;
    const auto w = wires::uniform(latency, rate);
    const auto compare = [&](const auto& policy) {
      // Nothing is charged for computing and coding there. Beside the gradient a step sums a loss and its count.
      const auto a = plan::advise(model, 4, w, {.compute = 0}, plan::given{policy, compress::costs{}});
      const double rest = 2 * w.time(comm::collective::all_reduce, 4, 2, 8).seconds, predicted = a.policies[0].step, took = simulated_step(model, latency, rate, policy);
      INFO(describe(policy) << ": predicted " << predicted << " s, took " << took << " s");
      CHECK(took > 0.95 * predicted);
      CHECK(took < 1.1 * predicted + rest);
      return took;
    };
    const double dense = compare(compress::none{}), half = compare(compress::cast<bfloat16>{}), sparse = compare(compress::error_feedback{compress::top_k{}});
    compare(compress::qsgd{});
    compare(compress::sign{});
    CHECK(half < 0.6 * dense);
    CHECK(sparse < 0.2 * dense);
  }
}
