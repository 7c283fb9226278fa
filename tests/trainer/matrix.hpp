// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/hana/cartesian_product.hpp>
#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/unpack.hpp>

#include <entrain/compress/compress.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/testing/parallel_laws.hpp>

#include "models.hpp"

// The matrix policy x type on one communicator: every optimizer with every compressor under every parallel form that
// takes it, by the laws of testing/parallel_laws.hpp. The same body runs on threads (tests/trainer/test_matrix.cpp) and on
// MPI (tests/mpi/test_matrix.cpp); the rank count is the communicator's.

namespace entrain::test {

namespace hana = boost::hana;

inline auto optimizers() {
  return hana::make_tuple(optim::sgd{.learning_rate = 0.05, .momentum = 0.9, .nesterov = true},
                          optim::clipped{optim::scheduled{optim::adamw{.learning_rate = 0.02}, optim::schedule::warm_up{5}}, 0.5});
}
inline auto summable_compressors() { return hana::make_tuple(compress::none{}, compress::cast<bfloat16>{}, compress::error_feedback{compress::cast<bfloat16>{}}); }
inline auto selecting_compressors() { return hana::make_tuple(compress::top_k{.ratio = 0.3}, compress::error_feedback{compress::top_k{.ratio = 0.1}}); }
inline auto sharded_forms() { return hana::make_tuple(parallel::sharded{}, parallel::sharded{.bucket_bytes = 64, .accumulate = 2}); }
inline auto data_forms() { return hana::make_tuple(parallel::data{}, parallel::data{.bucket_bytes = 100, .accumulate = 3}); }

template <class F, class... Tuples>
void for_each_combination(F f, const Tuples&... tuples) {
  hana::for_each(hana::cartesian_product(hana::make_tuple(tuples...)), [&](const auto& combination) { hana::unpack(combination, f); });
}

// A user's own model in both number formats.
template <class Communicator>
void run_matrix_of_user_models(Communicator& world) {
  const plane data{.samples = 29};
  const auto both_types = [&](const auto& optimizer, const auto& compressor, const auto& form) {
    testing::check_training(world, line<float>{}, data, optimizer, compressor, form, precision::fp32{}, {.batch = 7});
    testing::check_training(world, line<double>{}, data, optimizer, compressor, form, precision::fp64{}, {.batch = 3});
  };
  for_each_combination(both_types, optimizers(), summable_compressors(), data_forms());
  for_each_combination(both_types, optimizers(), selecting_compressors(), data_forms());
  for_each_combination(both_types, optimizers(), summable_compressors(), sharded_forms());
  for_each_combination(both_types, optimizers(), selecting_compressors(), sharded_forms());
}

// The library's layered and staged models: overlap with the backward pass, and pipelines where there are enough layers.
template <class Communicator>
void run_matrix_of_networks(Communicator& world) {
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7, 8, 5}, .outputs = 3};
  const nn::gpt language{.layers = 3, .heads = 2, .width = 8, .context = 6, .vocabulary = 11};
  const auto both_models = [&](const auto& optimizer, const auto& compressor, const auto& form) {
    testing::check_training(world, perceptron, clusters{}, optimizer, compressor, form, precision::fp32{}, {.batch = 10});
    testing::check_training(world, language, counting{}, optimizer, compressor, form, precision::fp64{}, {.batch = 5});
  };
  testing::check_training(world, language, counting{}, optim::sgd{.learning_rate = 0.1}, compress::none{}, parallel::data{.bucket_bytes = 256}, precision::fp32{}, {.batch = 5});
  for_each_combination(both_models, optimizers(), summable_compressors(), hana::make_tuple(parallel::data{.bucket_bytes = 256}, parallel::sharded{.bucket_bytes = 256}));
  for_each_combination(both_models, optimizers(), selecting_compressors(), hana::make_tuple(parallel::data{.bucket_bytes = 256, .accumulate = 2}));
  namespace schedule = parallel::schedule;
  for_each_combination(both_models, optimizers(), hana::make_tuple(compress::none{}),
                       hana::make_tuple(parallel::pipeline<schedule::gpipe>{.micro_batches = 3}, parallel::pipeline<schedule::one_forward_one_backward>{.micro_batches = 5}));
}

}  // namespace entrain::test
