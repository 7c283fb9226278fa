// SPDX-License-Identifier: Apache-2.0
//
// Which compressor is worth it on my wires? A small language model is trained on 4 virtual ranks under every compressor, over
// emulated wires of 100 Mbit/s, 1 and 10 Gbit/s: loss against time and against bytes, as a table and two pictures.
//
//   compare_compressors [--data FILE] [--steps N]     MPI ranks share the compressors out; each simulates 4 ranks
//
// What is measured: losses and bytes (real training), and the processor's time of a rank's step, encoding and decoding of all that
// arrives included. What is computed: the time of the messages, by the simulator's clock. Computing and exchange do not overlap here.

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/simulated.hpp>
#include <entrain/entrain.hpp>
#include <entrain/plan/plan.hpp>

#include "arguments.hpp"

namespace en = entrain;

namespace {

constexpr int ranks = 4;
struct wire {
  const char* name;
  double bits;
};
constexpr std::array<wire, 3> wires{{{"100 Mbit/s", 1e8}, {"1 Gbit/s", 1e9}, {"10 Gbit/s", 1e10}}};
constexpr double latency = 2e-5;  // seconds a message

en::nn::gpt model() { return {.layers = 2, .heads = 2, .width = 64, .context = 64}; }

struct outcome {
  std::string name;
  std::vector<double> loss, bytes;     // of every step; losses smoothed
  double compute = 0;                  // seconds of a rank's step without wires
  std::array<double, 3> step{};        // seconds on each wire
  std::array<double, 3> to_target{};   // 0: never
  double first_dense = 0;              // steps that went densely at first

  outcome& sized(std::size_t steps) { return loss.resize(steps), bytes.resize(steps), *this; }
};

struct task {
  en::data::bytes text;
  std::size_t batch;  // of all ranks
  unsigned long steps;
};

struct times {
  double wires = 0;      // virtual seconds of the messages of one step
  double processor = 0;  // seconds of one rank's step: computing, encoding, decoding what arrives, and handing messages over
};

template <class Optimizer, class C>
times train(const task& what, const Optimizer& optimizer, const C& c, double bits, unsigned long steps, std::vector<en::monitor::step_event>* events) {
  times out;
  en::comm::simulate(ranks, {.network = en::comm::network::uniform(latency, bits / 8)}, [&](en::comm::simulated& world) {
    std::vector<en::monitor::step_event> own;
    en::trainer run{model(), optimizer, c, world, en::monitor::record{own, world.rank()}};
    run.fit(what.text, {.steps = 1, .batch = what.batch, .prefetch = false});
    const auto begin = std::clock();  // of all ranks, which are threads of this process
    run.fit(what.text, {.steps = steps, .batch = what.batch, .prefetch = false});
    const double end = world.now(), used = double(std::clock() - begin) / CLOCKS_PER_SEC;
    run.fit(what.text, {.steps = steps + 1, .batch = what.batch, .prefetch = false});  // what the last step takes
    if (world.rank() != 0) return;
    out = {world.now() - end, used / double(steps - 1) / ranks};
    if (events) *events = own;
  });
  return out;
}

class comparison {
 public:
  comparison(const task& what, en::comm::mpi& world) : task_(what), steps_(what.steps), world_(world) {}

  // policy(n): the compressor, with n steps of warm-up where it has one.
  // share: of the dense run's steps; what is cheap may take more of them.
  template <class Optimizer, class Policy>
  void add(const std::string& name, const Optimizer& optimizer, const Policy& policy, double share = 1) {
    outcome out;
    out.name = name;
    const auto steps = static_cast<unsigned long>(share * double(steps_));
    if (!mine(all_.size())) return all_.push_back(std::move(out.sized(steps)));
    std::vector<en::monitor::step_event> events;
    const times trained = train(task_, optimizer, policy(steps_ / 5), wires[0].bits, steps, &events);
    out.compute = trained.processor, out.step[0] = trained.wires;
    for (std::size_t w = 1; w < wires.size(); ++w) out.step[w] = train(task_, optimizer, policy(1), wires[w].bits, 3, nullptr).wires;
    for (double& s : out.step) s += out.compute;
    double smooth = events.front().loss;
    for (std::size_t s = 0; s < steps; ++s) {
      out.loss.push_back(smooth += 0.05 * (events[s].loss - smooth));
      out.bytes.push_back(double(events[s].bytes_sent));
    }
    all_.push_back(std::move(out));
    std::printf("%2zu: trained with %s\n", all_.size(), name.c_str());
    std::fflush(stdout);
  }

  // Every MPI rank has trained its share; afterwards all have all results.
  void exchange() {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      outcome& o = all_[i];
      const int owner = int(i % std::size_t(world_.size()));
      en::comm::broadcast(world_, o.loss, owner), en::comm::broadcast(world_, o.bytes, owner), en::comm::broadcast(world_, o.step, owner);
      en::comm::broadcast(world_, std::span<double>(&o.compute, 1), owner);
      if (i == 0) continue;
      const auto whole = [&](double b) { return b > 2 * o.bytes.back() && b > 0.9 * all_.front().bytes[0]; };
      o.first_dense = double(std::find_if_not(o.bytes.begin(), o.bytes.end(), whole) - o.bytes.begin());
    }
  }

  void report() {
    const auto& dense = all_.front();
    const double target = dense.loss[std::size_t(double(steps_ - 1) * 0.8)];
    std::printf("\ntarget: the loss %.3f, which the dense run has after %lu of %lu steps\n", target, steps_ * 4 / 5, steps_);
    std::printf("%-26s %9s %7s", "compressor", "bytes", "loss");
    for (const auto& w : wires) std::printf(" | %10s %8s %6s", "ms/step", w.name, "");
    std::printf("\n%-26s %9s %7s", "", "a step", "last");
    for (std::size_t w = 0; w < wires.size(); ++w) std::printf(" | %10s %15s", "", "s to target");
    std::printf("\n");
    std::array<int, 3> half{}, faster{};
    for (auto& o : all_) {
      const auto reached = std::find_if(o.loss.begin(), o.loss.end(), [&](double l) { return l <= target; });
      const auto needed = reached == o.loss.end() ? 0.0 : double(reached - o.loss.begin() + 1);
      std::printf("%-26s %9.0f %7.3f", o.name.c_str(), o.bytes.back(), o.loss.back());
      for (std::size_t w = 0; w < wires.size(); ++w) {
        o.to_target[w] = time_of(o, w, needed);
        half[w] += needed > 0 && o.to_target[w] < 0.5 * dense.to_target[w], faster[w] += &o != &dense && needed > 0 && o.to_target[w] < 0.95 * dense.to_target[w];
        if (needed > 0) std::printf(" | %10.2f %8.2f %5.2fx", 1e3 * o.step[w], o.to_target[w], dense.to_target[w] / o.to_target[w]);
        else std::printf(" | %10.2f %8s %6s", 1e3 * o.step[w], "never", "");
      }
      std::printf("\n");
    }
    for (std::size_t w = 0; w < wires.size(); ++w)
      std::printf("%-10s %d of %zu compressors reach the target in less than half of the dense run's time, %d at least 5 %% sooner\n", wires[w].name, half[w], all_.size() - 1, faster[w]);
  }

  void draw() const {
    en::monitor::svg::line_chart time, bytes;
    time.title = "Loss against time, 4 ranks, 100 Mbit/s", time.x_label = "seconds", time.y_label = "training loss", time.log_x = true;
    bytes.title = "Loss against bytes", bytes.x_label = "MB handed over by a rank", bytes.y_label = "training loss", bytes.log_x = true;
    time.width = bytes.width = 760, time.height = bytes.height = 600;
    for (const auto& o : all_) {
      std::vector<double> at, sent;
      double total = 0;
      for (std::size_t s = 0; s < o.loss.size(); ++s) at.push_back(time_of(o, 0, double(s + 1))), sent.push_back((total += o.bytes[s]) / 1e6);
      // Eight colours, for three times as many compressors: the second eight are dashed, the others pale.
      const en::monitor::svg::line_options look{.light = time.lines.size() >= 16, .dashed = time.lines.size() / 8 == 1};
      time.add(o.name, at, o.loss, look), bytes.add(o.name, sent, o.loss, look);
    }
    time.write_svg("compare_compressors_time.svg");
    bytes.write_svg("compare_compressors_bytes.svg");
    std::printf("the pictures are compare_compressors_time.svg and compare_compressors_bytes.svg\n");
  }
  double dense_compute() const { return all_.front().compute; }

 private:
  bool mine(std::size_t i) const { return int(i % std::size_t(world_.size())) == world_.rank(); }
  // The first steps of some policies travel densely.
  double time_of(const outcome& o, std::size_t w, double steps) const {
    const double before = std::min(steps, o.first_dense);
    return before * (all_.front().step[w] - all_.front().compute + o.compute) + (steps - before) * o.step[w];
  }

  const task& task_;
  unsigned long steps_;
  en::comm::mpi& world_;
  std::vector<outcome> all_;
};

// The prediction, made without training or simulation.
void advise(double compute) {
  using namespace en::compress;
  for (const auto& w : wires) {
    std::printf("\nadvice for %s:\n", w.name);
    std::cout << en::plan::advise(model(), ranks, en::compress::wires::uniform(latency, w.bits / 8), {.compute = compute, .overlap = false}, cast<en::bfloat16>{}, qsgd{.levels = 4},
                                  error_feedback{sign{}}, error_feedback{top_k{.ratio = 0.01}}, error_feedback{dragonn{.ratio = 0.01}}, power_sgd{.rank = 4}, two_phase{sign{}})
              << std::flush;
  }
}

}  // namespace

int main(int argc, char** argv) {
  return en::run_main(argc, argv, [&](en::comm::mpi& world) {
    const std::string shakespeare = repository("../shared/data/text/tinyshakespeare.txt");
    const en::data::bytes text{argument(argc, argv, "--data", std::filesystem::exists(shakespeare) ? shakespeare : repository("include")), {.context = 64}};
    const unsigned long steps = std::max(5ul, steps_or(argc, argv, 150));
    using namespace en::compress;
    const en::optim::adamw adam{.learning_rate = 1e-3};
    const auto always = [](auto c) { return [c](unsigned long) { return c; }; };
    // What waits in a residual is large at first, and Adam magnifies it: biased methods begin after a tenth of the steps.
    const auto later = [](auto c) { return [c](unsigned long n) { return after{n / 2, c}; }; };
    const auto matrices = [](auto c) { return per_layer{rule{c, {.matrices = true}}, none{}}; };

    const task what{text, has_flag(argc, argv, "--smoke") ? 16u : 128u, steps};
    comparison all(what, world);
    all.add("none", adam, always(none{}));
    all.add("cast<bf16>", adam, always(cast<en::bfloat16>{}));
    all.add("qsgd, 4 levels", adam, always(qsgd{.levels = 4}));
    all.add("elias_qsgd, 4 levels", adam, always(elias_qsgd{.levels = 4}));
    all.add("elias_qsgd, 16 levels", adam, always(elias_qsgd{.levels = 16}));
    all.add("natural", adam, always(natural{}));
    all.add("fp8 blocks", adam, always(block_float8<>{}));
    all.add("terngrad", adam, always(matrices(terngrad{})));
    all.add("variance based 5 %", adam, always(travel{variance_based{.ratio = 0.05}, way::gather}));
    all.add("jointspar, half", adam, always(jointspar{.share = 0.5}));
    all.add("majority_vote", en::optim::sgd{.learning_rate = 1e-3}, always(majority_vote{.momentum = 0.9}));
    all.add("sign + feedback", adam, later(error_feedback{sign{}}));
    all.add("one_bit + feedback", adam, later(error_feedback{one_bit{}}));
    all.add("two_phase sign", adam, later(two_phase{sign{}}));
    all.add("top 1 % + feedback", adam, later(error_feedback{top_k{.ratio = 0.01}}), 1.5);
    all.add("top 1 %", adam, later(top_k{.ratio = 0.01}), 1.5);
    all.add("sampled top 1 % + feedback", adam, later(error_feedback{sampled_top_k{.ratio = 0.01}}));
    all.add("adaptive 1 % + feedback", adam, later(error_feedback{adaptive_threshold{.ratio = 0.01}}), 1.5);
    all.add("dragonn 1 % + feedback", adam, later(error_feedback{dragonn{.ratio = 0.01}}));
    all.add("top 5 %, 15 levels", adam, later(error_feedback{chain{top_k{.ratio = 0.05}, qsgd{.levels = 15, .bucket = 0, .scale = norm::maximum}}}));
    all.add("random 5 % + feedback", adam, later(error_feedback{random_k{.ratio = 0.05}}));
    all.add("dgc 1 %", en::optim::adamw{.learning_rate = 1e-3, .beta1 = 0},
            [](unsigned long n) { return per_layer{rule{travel{dgc{.ratio = 0.01, .steps_each = n / 4 + 1}, way::gather}, {.matrices = true, .at_least = 1024}}, momentum_correction{none{}}}; }, 1.5);
    all.add("sketched_sgd 1 %", adam, later(matrices(sketched_sgd{.ratio = 0.01})));
    all.add("power_sgd, rank 4", adam, later(matrices(power_sgd{.rank = 4})), 1.5);
    all.exchange();
    if (world.rank() > 0) return;
    all.report();
    all.draw();
    advise(all.dense_compute());
  });
}
