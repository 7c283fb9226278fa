// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <string>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/after.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/way.hpp>

#include "comm/holds.hpp"
#include "compression_matrix.hpp"

using namespace entrain;

namespace {
template <class C>
void on_threads(const C& c) {
  for (const int ranks : {1, 2, 3, 4, 5}) CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) { test::check_compression(world, c); }));
}
}  // namespace

TEST_CASE("sparse gradients travel in three ways", "[compress]") {
  on_threads(compress::error_feedback{compress::travel{compress::top_k{.ratio = 0.2}, compress::way::gather}});
  on_threads(compress::error_feedback{compress::travel{compress::top_k{.ratio = 0.2}, compress::way::sparse}});
  on_threads(compress::error_feedback{compress::travel{compress::top_k{.ratio = 0.2}, compress::way::dense}});
}

TEST_CASE("choosers: by block and by step", "[compress]") {
  on_threads(compress::per_layer{compress::rule{compress::error_feedback{compress::top_k{.ratio = 0.1}}, {.matrices = true}}, compress::none{}});
  on_threads(compress::after{3, compress::error_feedback{compress::top_k{.ratio = 0.1}}});
  on_threads(compress::per_layer{compress::rule{compress::after{2, compress::error_feedback{compress::top_k{.ratio = 0.1}}}, {.matrices = true, .at_least = 50}},
                                 compress::rule{compress::cast<bfloat16>{}, {.name = "bias"}}, compress::none{}});
}

TEST_CASE("activations of a pipeline travel encoded", "[compress]") {
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7, 8, 5}, .outputs = 3};
  const auto on = [&](comm::threads& world, const auto& c, const auto& form) {
    testing::check_training(world, perceptron, test::clusters{}, optim::sgd{.learning_rate = 0.05}, c, form, precision::fp32{}, {.steps = 6, .batch = 10});
    testing::check_training(world, perceptron, test::clusters{}, optim::sgd{.learning_rate = 0.05}, c, form, precision::fp64{}, {.steps = 6, .batch = 3});
  };
  for (const int ranks : {1, 2, 3, 4})
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      on(world, compress::cast<bfloat16>{}, parallel::pipeline<>{.micro_batches = 3});
      on(world, compress::qsgd{}, parallel::pipeline<parallel::schedule::gpipe>{.micro_batches = 4});
    }));
}

TEST_CASE("a trainer explains how gradients travel", "[compress]") {
  comm::run_ranks(4, [](comm::threads& world) {
    trainer run{nn::mlp{.inputs = 6, .hidden = {40}, .outputs = 3}, optim::sgd{}, world, compress::after{10, compress::error_feedback{compress::top_k{.ratio = 0.01}}}};
    const std::string before = run.explain(), then = run.explain(10);
    HOLDS(before.find("all_reduce of") != std::string::npos);
    HOLDS(then.find("predicted: gather") != std::string::npos);
    HOLDS(then.find("top_k") != std::string::npos);
  });
}
