// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include "../counted_allocations.hpp"

// The library's own products: oneDNN's takes a packing buffer from the heap in each call and gives it back, which is its
// business and not ours to change (docs/performance.md).
#undef ENTRAIN_WITH_ONEDNN
#define ENTRAIN_WITH_ONEDNN 0

#include <numeric>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

using namespace entrain;

namespace {

// Allocations of all ranks in the steps after `first`.
template <class Model, class Batch, class Parallelism, class Compression, class Optimizer>
long allocations_of_steps(int ranks, const Model& model, const Batch& batch, const Parallelism& form, const Compression& compressor, const Optimizer& optimizer, int first, int last) {
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{model, optimizer, world, form, compressor};
    for (int step = 0; step < last; ++step) {
      comm::barrier(world);
      if (world.rank() == 0 && step == first) test::allocations = 0, test::counting = true;
      comm::barrier(world);
      run.step(batch);
      comm::barrier(world);
    }
    if (world.rank() == 0) test::counting = false;
    comm::barrier(world);
  });
  return test::allocations;
}
template <class Model, class Batch, class Parallelism, class Compression>
long allocations_of_steps(int ranks, const Model& model, const Batch& batch, const Parallelism& form, const Compression& compressor) {
  return allocations_of_steps(ranks, model, batch, form, compressor, optim::clipped{optim::adamw{}, 1.0}, 2, 6);
}

token_batch tokens() {
  token_batch batch;
  batch.resize(4, 16);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = std::int32_t(i * 7 % 32), batch.targets[i] = std::int32_t(i * 5 % 32);
  return batch;
}

labelled_batch images() {
  labelled_batch batch;
  batch.resize(4, 784);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = float(i % 17) / 17;
  std::iota(batch.targets.begin(), batch.targets.end(), 0);
  return batch;
}

}  // namespace

TEST_CASE("the counter counts", "[allocations]") {
  if (!ENTRAIN_TEST_COUNTS_ALLOCATIONS) return;
  test::allocations = 0, test::counting = true;
  const std::vector<int> some(1000);
  test::counting = false;
  CHECK(test::allocations > 0);
}

TEST_CASE("nothing is allocated in a step after the first", "[allocations]") {
  const nn::gpt language{.layers = 2, .heads = 2, .width = 32, .context = 16, .vocabulary = 32, .dropout = 0.1};
  for (const int ranks : {1, 2}) {
    CAPTURE(ranks);
    CHECK(allocations_of_steps(ranks, language, tokens(), parallel::data{.bucket_bytes = 4096}, compress::none{}) == 0);
    CHECK(allocations_of_steps(ranks, language, tokens(), parallel::data{.bucket_bytes = 4096, .accumulate = 2}, compress::cast<bfloat16>{}) == 0);
    CHECK(allocations_of_steps(ranks, language, tokens(), parallel::data{.bucket_bytes = 4096}, compress::error_feedback{compress::top_k{.ratio = 0.01}}) == 0);
    CHECK(allocations_of_steps(ranks, language, tokens(), parallel::sharded{.bucket_bytes = 4096}, compress::none{}) == 0);
    using namespace compress;  // every route
    const auto gradients = [&](const auto& c) { return allocations_of_steps(ranks, language, tokens(), parallel::data{.bucket_bytes = 4096}, c); };
    CHECK(gradients(qsgd{}) == 0);
    CHECK(gradients(random_k{}) == 0);
    CHECK(gradients(error_feedback{chain{sampled_top_k{.ratio = 0.05}, sign{}}}) == 0);
    CHECK(gradients(error_feedback{travel{top_k{.ratio = 0.01}, way::sparse}}) == 0);
    CHECK(gradients(error_feedback{travel{top_k{.ratio = 0.01}, way::dense}}) == 0);
    CHECK(gradients(two_phase{sign{}}) == 0);
    CHECK(gradients(per_layer{rule{power_sgd{.rank = 2}, {.matrices = true}}, none{}}) == 0);
    CHECK(allocations_of_steps(ranks, language, tokens(), parallel::pipeline<>{.micro_batches = 4}, compress::none{}) == 0);
    CHECK(allocations_of_steps(ranks, nn::cnn{.filters = {4, 8}, .hidden = 16}, images(), parallel::data{}, compress::none{}) == 0);
  }
}

TEST_CASE("nothing is allocated by an optimizer that owns its communication, in a step of any kind", "[allocations]") {
  const nn::gpt language{.layers = 1, .heads = 2, .width = 32, .context = 16, .vocabulary = 32};
  // 0, 1, 2 and 4 average; from 6 on every second step is local.
  const optim::zero_one_adam optimizer{.kappa = 2, .longest_variance_interval = 2, .double_every = 1, .longest_interval = 2};
  for (const int ranks : {1, 2}) {
    CAPTURE(ranks);
    const auto of = [&](const auto& c, int first) { return allocations_of_steps(ranks, language, tokens(), parallel::data{.bucket_bytes = 4096, .accumulate = 2}, c, optimizer, first, 12); };
    CHECK(of(compress::two_phase{compress::sign{}}, 1) == 0);
    CHECK(of(compress::none{}, 1) == 0);
    CHECK(of(compress::error_feedback{compress::top_k{.ratio = 0.01}}, 1) == 0);
  }
}
