// SPDX-License-Identifier: Apache-2.0
//
// The same task under every policy of the library: final loss, bytes that a rank sends a step, time. Prints a table and
// draws compare_policies.svg (loss against bytes sent).

#include <cstdio>
#include <string>
#include <vector>

#include <entrain/entrain.hpp>

#include "arguments.hpp"

namespace en = entrain;

namespace {

struct outcome {
  std::string name;
  std::vector<en::monitor::step_event> steps;
  double loss = 0, seconds = 0;
};

template <class Compression, class Parallelism>
outcome train(en::comm::mpi& world, const en::data::bytes& text, const std::string& name, const Compression& compression, const Parallelism& parallelism, unsigned long steps) {
  outcome result{name, {}, 0, 0};
  en::trainer run{en::nn::gpt{.layers = 2, .heads = 2, .width = 64, .context = 32},
                  en::optim::adamw{.learning_rate = 2e-3},
                  world,
                  compression,
                  parallelism,
                  en::monitor::record{result.steps}};
  result.seconds = run.fit(text, {.steps = steps, .batch = 16}).seconds;
  result.loss = run.evaluate(text.with_stride(4096)).mean();
  if (world.rank() == 0)
    std::printf("%-28s %9.4f %12llu %9.2f\n", name.c_str(), result.loss, static_cast<unsigned long long>(result.steps.back().bytes_sent), 1e3 * result.seconds / double(steps));
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  const en::data::bytes text{argument(argc, argv, "--data", repository("include")), {.context = 32}};
  const unsigned long steps = steps_or(argc, argv, 200);
  if (world.rank() == 0) std::printf("%-28s %9s %12s %9s\n", "policy", "loss", "bytes/step", "ms/step");

  namespace compress = en::compress;
  namespace parallel = en::parallel;
  std::vector<outcome> all;
  all.push_back(train(world, text, "data", compress::none{}, parallel::data{}, steps));
  all.push_back(train(world, text, "data, bf16", compress::cast<en::bfloat16>{}, parallel::data{}, steps));
  all.push_back(train(world, text, "data, top 1 % + feedback", compress::error_feedback{compress::top_k{.ratio = 0.01}}, parallel::data{}, steps));
  all.push_back(train(world, text, "data, top 1 %", compress::top_k{.ratio = 0.01}, parallel::data{}, steps));
  all.push_back(train(world, text, "sharded", compress::none{}, parallel::sharded{}, steps));
  all.push_back(train(world, text, "sharded, bf16 + feedback", compress::error_feedback{compress::cast<en::bfloat16>{}}, parallel::sharded{}, steps));
  if (world.size() <= 4) all.push_back(train(world, text, "pipeline, 1F1B", compress::none{}, parallel::pipeline<>{.micro_batches = 4}, steps));

  if (world.rank() != 0) return 0;
  en::monitor::svg::line_chart chart;
  chart.title = "Loss against bytes sent", chart.x_label = "MB sent by a rank", chart.y_label = "training loss";
  for (const auto& o : all) {
    std::vector<double> sent, loss;
    double total = 0, smooth = o.steps.front().loss;
    for (const auto& step : o.steps) sent.push_back((total += double(step.bytes_sent)) / 1e6), loss.push_back(smooth += 0.1 * (step.loss - smooth));
    chart.add(o.name, sent, loss);
  }
  chart.write_svg("compare_policies.svg");
  std::printf("the picture is %s\n", "compare_policies.svg");
}
