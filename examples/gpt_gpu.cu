// SPDX-License-Identifier: Apache-2.0
//
// The quickstart on a GPU: a GPT learns to write what it reads, C++ (this repository's headers) unless --data PATH names a text file or a
// folder of them, in bfloat16 with parameters kept in fp32. One line of nvcc builds it:
//
//   nvcc -std=c++20 -O3 --expt-relaxed-constexpr -arch=native -Iinclude examples/gpt_gpu.cu -lcublasLt -o gpt_gpu
//   ./gpt_gpu --data input.txt --steps 2000
//
// The default is the size that is usual for tiny Shakespeare: 6 layers, 10.8 million parameters.

#include <cstdio>
#include <exception>
#include <string>

#include <entrain/data/bytes.hpp>
#include <entrain/device/device.cuh>
#include <entrain/monitor/progress.hpp>
#include <entrain/nn/generate.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/precision.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "arguments.hpp"

namespace en = entrain;

static int run_example(int argc, char** argv) {
  const bool smoke = has_flag(argc, argv, "--smoke");
  const std::size_t context = smoke ? 16 : 256;
  const en::data::bytes text{argument(argc, argv, "--data", repository("include")), {.context = context, .vocabulary = en::data::vocabulary::distinct}};
  const auto [train, validate] = text.split(0.9);
  const unsigned long steps = steps_or(argc, argv, 2000);

  //! [compose]
  const en::nn::gpt model{.layers = smoke ? 1u : 6u, .heads = smoke ? 1u : 6u, .width = smoke ? 32u : 384u, .context = context, .vocabulary = text.vocabulary_size(), .dropout = 0.2f};
  en::trainer run{
      model,
      en::optim::clipped{en::optim::scheduled{en::optim::adamw{.learning_rate = 1e-3, .beta2 = 0.99}, en::optim::schedule::warm_up{100} * en::optim::schedule::cosine{steps, 0.1}}, 1.0},
      en::engine::cuda{},
      en::precision::bf16_mixed{},
      en::monitor::progress{}};
  run.fit(train, {.steps = steps, .batch = smoke ? 2u : 64u});
  //! [compose]
  const en::loss_sum loss = run.evaluate(validate.with_stride(smoke ? 65536 : context));
  std::printf("validation loss %.4f over %lld tokens\n", loss.mean(), static_cast<long long>(loss.count));

  //! [sample]
  run.assemble_parameters();  // brings them to the host, where the same model reads them
  auto on_host = model.make<float>(en::engine::host{});
  const std::string prompt = argument(argc, argv, "--prompt", "\n");
  const auto sample = en::nn::generate(on_host, run.parameters(), text.encode(prompt), smoke ? 10 : 500, 0.8);
  //! [sample]
  std::printf("%s%s\n", prompt.c_str(), text.decode(sample).c_str());
  return 0;
}

int main(int argc, char** argv) {
  try {
    return run_example(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
