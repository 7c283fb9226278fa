// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/hana/tuple.hpp>

#include <entrain/compress/compress.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/testing/parallel_laws.hpp>

#include "models.hpp"

// Every compressor, in the wrappers that it is used in, through a trainer: the laws of testing/parallel_laws.hpp with data and sharded
// exchange, fp32 and fp64, several bucket sizes, accumulation, and batches that leave some ranks without a sample. Threads:
// tests/trainer/test_compression.cpp; MPI: tests/mpi/test_compression.cpp.

namespace entrain::test {

// A user's own model with a matrix and a vector: perceptron without its layers' help (all blocks ready at the end).
template <class Communicator, class Compression>
void check_compression(Communicator& world, const Compression& c) {
  const optim::sgd optimizer{.learning_rate = 0.05, .momentum = 0.5};
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
  const clusters samples{.samples = 29};
  testing::check_training(world, perceptron, samples, optimizer, c, parallel::data{.bucket_bytes = 100}, precision::fp32{}, {.steps = 6, .batch = 3});
  testing::check_training(world, perceptron, samples, optimizer, c, parallel::data{.accumulate = 2}, precision::fp64{}, {.steps = 6, .batch = 8});
  testing::check_training(world, perceptron, samples, optimizer, c, parallel::sharded{.bucket_bytes = 200}, precision::fp32{}, {.steps = 6, .batch = 8});
}

}  // namespace entrain::test
