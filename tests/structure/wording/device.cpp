// SPDX-License-Identifier: Apache-2.0
// emulated: where no nvcc compiles this, CUDA's emulation stands in
//
// What engine::cuda does not have is said in one sentence, and so is what it lacks where its kernels are not in sight.
#include <entrain/comm/self.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/engine/cuda.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/precision.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/optim/zero_one_adam.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/pipeline.hpp>
#include <entrain/parallel/reproducible.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/trainer.hpp>
#if !defined(CASE_kernels_out_of_sight)
#include <entrain/device/device.cuh>
#endif

namespace en = entrain;

[[maybe_unused]] static const en::nn::mlp model{.inputs = 4, .hidden = {8}, .outputs = 2};

#if defined(CASE_kernels_out_of_sight)
// expect: the kernels of this engine are not in sight: include <entrain/device/device.cuh> in a file that nvcc compiles
void meet() { en::trainer run{model, en::optim::sgd{}, en::engine::cuda{}}; }
#endif

#if defined(CASE_fp16_compressed)
// expect: precision::fp16_mixed changes the scale of gradients, so that what a compressor keeps from one step does not fit the next: leave compression out, or pass precision::bf16_mixed
void meet() { en::trainer run{model, en::optim::sgd{}, en::engine::cuda{}, en::precision::fp16_mixed{}, en::compress::error_feedback{en::compress::top_k{}}}; }
#endif

#if defined(CASE_pipeline)
// expect: parallel::pipeline has no form for engine::cuda yet: use parallel::data there, or engine::host
void meet() { en::trainer run{model, en::optim::sgd{}, en::engine::cuda{}, en::parallel::pipeline<>{}}; }
#endif

#if defined(CASE_fp16_on_the_host)
// expect: precision::fp16_mixed needs parallel::data and an optimizer that runs on the device: use precision::bf16_mixed
void meet() { en::trainer run{model, en::optim::adamw{}, en::engine::cuda{}, en::precision::fp16_mixed{}, en::parallel::sharded{}}; }
#endif

#if defined(CASE_mixed_on_the_host)
// expect: mixed precision needs an engine that has it: pass engine::cuda{}, or precision::fp32 on the host
void meet() { en::trainer run{model, en::optim::adamw{}, en::engine::host{}, en::precision::bf16_mixed{}, en::parallel::sharded{}}; }
#endif
