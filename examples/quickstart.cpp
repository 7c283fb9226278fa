// SPDX-License-Identifier: Apache-2.0
//
// A GPT learns to write C++: trained on this repository's own headers (or on --data PATH, a text file or a folder of them)
// by all MPI ranks together, with a progress bar, a report with pictures, and a sample of what it has learned.
//
//   ./examples/run.sh                      four ranks
//   ./examples/run.sh --ranks 2 --data FILE --steps 2000

#include <cstdio>
#include <filesystem>
#include <string>

#include <entrain/entrain.hpp>

#include "arguments.hpp"

namespace en = entrain;

int main(int argc, char** argv) {
  //! [compose]
  en::comm::mpi world{argc, argv};
  const en::data::bytes text{argument(argc, argv, "--data", repository("include")), {.context = 64, .vocabulary = en::data::vocabulary::distinct}};
  const auto [train, validate] = text.split(0.9);

  const unsigned long steps = steps_or(argc, argv, 1500);
  en::trainer run{
      en::nn::gpt{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = text.vocabulary_size()},
      en::optim::clipped{en::optim::scheduled{en::optim::adamw{.learning_rate = 2e-3}, en::optim::schedule::warm_up{50} * en::optim::schedule::cosine{steps, 0.1}}, 1.0},
      world,
      en::parallel::data{},
      en::monitor::progress{.summary = false},
      en::monitor::html_report{.path = "quickstart.html", .title = "quickstart"}};
  const auto summary = run.fit(train, {.steps = steps, .batch = 12});
  //! [compose]

  const bool smoke = has_flag(argc, argv, "--smoke");
  const auto held_out = validate.with_stride(smoke ? 8192 : 512);
  const en::loss_sum loss = run.evaluate(held_out);
  if (world.rank() == 0) {
    const std::string prompt = argument(argc, argv, "--prompt", "namespace entrain {\n\n// The ");
    const auto sample = en::nn::generate(run.model(), run.parameters(), text.encode(prompt), smoke ? 20 : 500, 0.8, 0, 4);
    std::printf("\n%s%s\n\n", prompt.c_str(), text.decode(sample).c_str());
    std::printf("validation loss %.4f over %lld tokens; the report is %s\n", loss.mean(), static_cast<long long>(loss.count), std::filesystem::absolute("quickstart.html").c_str());
    en::monitor::run_info job;
    job.ranks = world.size(), job.unit = "tokens";
    std::printf("%s\n", en::monitor::summary_line(job, summary).c_str());
  }
}
