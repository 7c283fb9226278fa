// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <entrain/comm/self.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/precision.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "measure.cuh"

// The whole training step of GPT-2 124M in bfloat16 with AdamW, on random tokens, against the product of two large matrices.
//
//   gpt2 [--vocabulary N] [--rounds N] [BATCH...]   sequences of 1024 tokens, 32, 64, 128 at a time unless said
//   gpt2 --serve [--vocabulary N]                   takes turns with another program: lines "<batch> <steps>" in, "seconds <a step>" out,
//                                                   before the first also "losses ..."; "quit" ends it
//   gpt2 --graph                                    a small model, whose kernels are shorter than their launches, with and without a graph
//   gpt2 --check                                    a tiny model: shows that it runs and learns, times mean nothing
//
// The vocabulary is 50304, 50257 padded to a multiple of 128, as is usual for speed. The tokens are always the same, so that the loss must
// fall; the numbers of bench/device/gpt2.py, so that the two losses must be close. The time of a step: several in a row, from the host's
// call of the first until the device has done the last.

namespace {

using namespace bench;

struct setting {
  std::string name = "gpt2_124m";
  nn::gpt model = nn::gpt::gpt2_124m();
  std::size_t square = 8192, copy_bytes = std::size_t(1) << 30;
  int rounds = 8, steps_a_round = 4, first_steps = 10;
};

setting tiny() {
  setting s;
  s.name = "gpt2_tiny";
  s.model = {.layers = 1, .heads = 2, .width = 64, .context = 16, .vocabulary = 64};
  s.square = 64, s.copy_bytes = 1 << 16, s.rounds = 1, s.steps_a_round = 1, s.first_steps = 6;
  return s;
}

std::int32_t token(std::uint32_t i, std::size_t vocabulary) {
  std::uint32_t x = i * 2654435761u;
  x = (x ^ (x >> 15)) * 2246822519u;
  return std::int32_t((x ^ (x >> 13)) % std::uint32_t(vocabulary));
}

void fill(token_batch& batch, std::size_t samples, const nn::gpt& model) {
  batch.resize(samples, model.context);
  const std::size_t real = std::min<std::size_t>(model.vocabulary, 50257);  // what pads the vocabulary never occurs
  for (std::size_t i = 0; i < samples * model.context; ++i) batch.inputs[i] = token(std::uint32_t(i), real), batch.targets[i] = token(std::uint32_t(i) + 1, real);
}

// Flops of a step: 6 for each parameter of a product and token, and those of attention, of which half of the matrix is computed.
double flops_of_step(const nn::gpt& m, std::size_t samples) {
  const double w = double(m.width), tokens = double(samples * m.context);
  const double parameters = double(m.layers) * 12 * w * w + double(m.vocabulary) * w;
  return tokens * (6 * parameters + 6 * double(m.layers) * w * double(m.context));
}

template <class Trainer>
double seconds_of_steps(Trainer& run, const token_batch& batch, int steps) {
  engine::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; ++i) (void)run.step(batch);
  engine::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / steps;
}

// The first steps' losses: begins near the logarithm of the vocabulary, falls, stays finite.
template <class Trainer>
bool learns(Trainer& run, const token_batch& batch, const setting& s) {
  std::vector<double> losses;
  std::printf("losses");
  for (int i = 0; i < s.first_steps; ++i) losses.push_back(run.step(batch).loss.mean()), std::printf(" %.4f", losses.back());
  std::printf("\n"), std::fflush(stdout);
  const double expected = std::log(double(s.model.vocabulary));
  const bool good = std::isfinite(losses.back()) && std::fabs(losses.front() - expected) < 0.5 && losses.back() < losses.front();
  if (!good) std::fprintf(stderr, "the losses are wrong: the first should be near %.2f, the last below it\n", expected);
  return good;
}

struct result {
  std::size_t batch = 0;
  double rate = 0, share = 0;  // tokens a second; of the matrix peak
};

template <class Trainer>
result measure(Trainer& run, const setting& s, const token_batch& batch, double peak) {
  std::vector<double> times;
  (void)seconds_of_steps(run, batch, 2);
  for (int round = 0; round < s.rounds; ++round) times.push_back(seconds_of_steps(run, batch, s.steps_a_round));
  const double seconds = median(times);
  const result r{batch.samples, double(batch.samples * s.model.context) / seconds, flops_of_step(s.model, batch.samples) / seconds / peak};
  std::size_t free = 0, total = 0;
  engine::cuda_check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const std::string name = s.name + "_batch_" + std::to_string(r.batch);
  print_value(name + "_step_ms", seconds * 1e3);
  print_value(name + "_tokens_per_second", r.rate);
  print_value(name + "_share_of_matrix_peak", r.share);
  print_value(name + "_memory_gib", double(total - free) / double(std::size_t(1) << 30));
  return r;
}

double matrix_peak(const setting& s) {
  card c(s.copy_bytes, s.rounds > 1 ? 20 : 1);
  const double peak = product_rate<bfloat16>(c, c.queue(), s.square);
  print_value("product_bf16_tflops", peak * 1e-12);
  return peak;
}

template <class Trainer>
int report(Trainer& run, const setting& s, const std::vector<std::size_t>& batches) {
  const double peak = matrix_peak(s);
  result best;
  bool good = true;
  token_batch batch;
  for (const std::size_t samples : batches) {
    fill(batch, samples, s.model);
    try {
      if (best.batch == 0) good = learns(run, batch, s);
      const result r = measure(run, s, batch, peak);
      if (r.rate > best.rate) best = r;
    } catch (const engine::cuda_error& e) {
      if (best.batch == 0 || std::string(e.what()).find("cudaErrorMemoryAllocation") == std::string::npos) throw;
      std::printf("a batch of %zu does not fit\n", samples);
      break;
    }
  }
  std::printf("the best batch is %zu\n", best.batch);
  print_value(s.name + "_tokens_per_second", best.rate);
  print_value(s.name + "_share_of_matrix_peak", best.share);
  return good ? 0 : 1;
}

template <class Trainer>
int serve(Trainer& run, const setting& s) {
  std::printf("ready\n"), std::fflush(stdout);
  token_batch batch;
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    std::istringstream words(line);
    std::size_t samples = 0;
    int steps = 0;
    if (!(words >> samples >> steps) || samples == 0 || steps < 1) return std::fprintf(stderr, "expected '<batch> <steps>', not '%s'\n", line.c_str()), 2;
    if (batch.samples != samples) {
      fill(batch, samples, s.model);
      if (run.steps() == 0 && !learns(run, batch, s)) return 1;
      (void)seconds_of_steps(run, batch, 2);
    }
    std::printf("seconds %.9g\n", seconds_of_steps(run, batch, steps)), std::fflush(stdout);
  }
  return 0;
}

// The passes of a step as one graph against a launch a kernel, in turns: ratio graph_small_gpt.
int with_and_without_graph(const setting& s) {
  comm::self world;
  const auto made = [&](bool graph) { return trainer{s.model, optim::adamw{.learning_rate = 6e-4}, world, engine::cuda{.graph = graph}, precision::bf16_mixed{}}; };
  auto plain = made(false), replayed = made(true);
  token_batch batch;
  fill(batch, 12, s.model);
  (void)seconds_of_steps(plain, batch, 3), (void)seconds_of_steps(replayed, batch, 3);
  std::vector<double> apart, together;
  for (int round = 0; round < s.rounds; ++round) apart.push_back(seconds_of_steps(plain, batch, s.steps_a_round)), together.push_back(seconds_of_steps(replayed, batch, s.steps_a_round));
  print_value("small_gpt_step_us", median(apart) * 1e6);
  print_value("small_gpt_graph_step_us", median(together) * 1e6);
  std::printf("ratio graph_small_gpt %.3g\n", median(apart) / median(together));
  return 0;
}

}  // namespace

int main(int arguments, char** given) try {
  bool checks = false, serves = false, graph = false;
  int rounds = 0;
  std::size_t vocabulary = 50304;
  std::vector<std::size_t> batches;
  for (int i = 1; i < arguments; ++i) {
    const auto is = [&](const char* name, int more) { return std::strcmp(given[i], name) == 0 && i + more < arguments; };
    if (is("--check", 0)) checks = true;
    else if (is("--serve", 0)) serves = true;
    else if (is("--graph", 0)) graph = true;
    else if (is("--vocabulary", 1)) vocabulary = std::size_t(std::atoll(given[++i]));
    else if (is("--rounds", 1)) rounds = std::atoi(given[++i]);
    else if (std::atoi(given[i]) > 0) batches.push_back(std::size_t(std::atoi(given[i])));
    else return std::fprintf(stderr, "gpt2 takes --check, --serve, --graph, --vocabulary N, --rounds N and batch sizes, not '%s'\n", given[i]), 2;
  }
  setting s = checks ? tiny() : setting{};
  if (!checks) s.model.vocabulary = vocabulary;
  if (graph && !checks) s.model = {.layers = 6, .heads = 6, .width = 384, .context = 256, .vocabulary = 128}, s.steps_a_round = 50;
  if (rounds > 0) s.rounds = rounds;
  if (graph) return with_and_without_graph(s);
  if (batches.empty()) batches = checks ? std::vector<std::size_t>{2, 3} : std::vector<std::size_t>{32, 64, 128};
  std::sort(batches.begin(), batches.end());  // memory only grows
  comm::self world;
  trainer run{s.model, optim::adamw{.learning_rate = 6e-4, .beta2 = 0.95, .weight_decay = 0.1}, world, engine::cuda{}, precision::bf16_mixed{}};
  return serves ? serve(run, s) : report(run, s, batches);
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
