// SPDX-License-Identifier: Apache-2.0
//
// The slots of a trainer: one policy for each question, and every argument a policy.
#include <entrain/comm/self.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/exact_momentum.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/one_bit_momentum.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/one_bit_adam.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/pipeline.hpp>
#include <entrain/parallel/reproducible.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/trainer.hpp>

#include "tests/trainer/models.hpp"

namespace en = entrain;

struct not_a_policy {};

#if defined(CASE_two_optimizers)
// expect: entrain::trainer was given two optimizers: name one
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, en::optim::adamw{}}; }
#endif

#if defined(CASE_two_models)
// expect: entrain::trainer was given two models: name one
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, en::test::line<float>{}}; }
#endif

#if defined(CASE_no_model)
// expect: entrain::trainer needs a model: pass a description such as nn::gpt{...}, or a type of your own with 'using slot_type = entrain::slot::model;'
void meet() { en::trainer run{en::optim::sgd{}}; }
#endif

#if defined(CASE_no_optimizer)
// expect: entrain::trainer needs an optimizer: pass one such as optim::adamw{.learning_rate = 1e-3}
void meet() { en::trainer run{en::test::line<float>{}}; }
#endif

#if defined(CASE_no_policy)
// expect: entrain::trainer was given an argument that is no policy: a policy names the question it answers with a line such as 'using slot_type = entrain::slot::optimizer;'
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, not_a_policy{}}; }
#endif

#if defined(CASE_reproducible_needs_dense)
// expect: parallel::reproducible cannot take a compressor, which encodes what a rank has and so depends on the number of ranks: use compress::none here, or keep the compressor and use parallel::data
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, en::compress::error_feedback{en::compress::top_k{}}, en::parallel::reproducible{}}; }
#endif

#if defined(CASE_per_layer_needs_an_end)
// expect: the last argument of compress::per_layer takes the blocks that no rule took: end the list with a compressor without a rule, such as compress::none{}
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, en::compress::per_layer{en::compress::rule{en::compress::none{}, {.matrices = true}}}}; }
#endif

#if defined(CASE_pipeline_needs_stages)
// expect: parallel::pipeline cuts the model between its layers and needs a staged model such as nn::gpt or nn::mlp
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, en::parallel::pipeline<>{}}; }
#endif

#if defined(CASE_doubles_in_single)
// expect: the model computes in another number format than the trainer: pass precision::fp64 with a model of doubles, precision::fp32 with one of floats
void meet() { en::trainer run{en::test::line<double>{}, en::optim::sgd{}}; }
#endif

#if defined(CASE_activations_once)
// expect: parallel::pipeline sends activations, each of them once: use a compressor that keeps no memory and leaves no value out, such as compress::cast, or use parallel::data
void meet() { en::trainer run{en::nn::mlp{.inputs = 4, .hidden = {8}, .outputs = 2}, en::optim::sgd{}, en::compress::top_k{}, en::parallel::pipeline<>{}}; }
#endif

#if defined(CASE_one_bit_adam_alone)
// expect: after its first steps optim::one_bit_adam takes what is exchanged for the momentum, of every block: pass compress::one_bit_momentum_of(optimizer), and in compress::per_layer give blocks that are to travel exactly compress::exact_momentum_of(optimizer)
void meet() { en::trainer run{en::test::line<float>{}, en::optim::one_bit_adam{}}; }
#endif

#if defined(CASE_one_bit_adam_with_dense_blocks)
// expect: after its first steps optim::one_bit_adam takes what is exchanged for the momentum, of every block: pass compress::one_bit_momentum_of(optimizer), and in compress::per_layer give blocks that are to travel exactly compress::exact_momentum_of(optimizer)
void meet() {
  const en::optim::one_bit_adam adam;
  en::trainer run{en::test::line<float>{}, adam, en::compress::per_layer{en::compress::rule{en::compress::one_bit_momentum_of(adam), {.matrices = true}}, en::compress::none{}}};
}
#endif

// A trainer that fits, in any order of its arguments.
void any_order() {
  en::trainer a{en::test::line<float>{}, en::optim::sgd{}, en::parallel::sharded{}};
  en::trainer b{en::parallel::sharded{}, en::optim::sgd{}, en::test::line<float>{}};
  const en::optim::one_bit_adam adam;
  en::trainer c{en::test::line<float>{}, adam, en::compress::per_layer{en::compress::rule{en::compress::one_bit_momentum_of(adam), {.matrices = true}}, en::compress::exact_momentum_of(adam)}};
}

#if defined(CASE_8_bit_products_on_the_host)
// expect: precision::fp8_mixed multiplies in 8 bits, which this engine does not: pass engine::cuda{}, or precision::fp32 on the host
void meet() { en::trainer run{en::nn::mlp{.inputs = 2, .hidden = {3}, .outputs = 2}, en::optim::sgd{}, en::precision::fp8_mixed{}, en::parallel::sharded{}}; }
#endif

#if defined(CASE_mixed_precision_on_the_host)
// expect: mixed precision needs an engine that has it: pass engine::cuda{}, or precision::fp32 on the host
void meet() { en::trainer run{en::nn::mlp{.inputs = 2, .hidden = {3}, .outputs = 2}, en::optim::sgd{}, en::precision::bf16_mixed{}}; }
#endif
