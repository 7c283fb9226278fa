// SPDX-License-Identifier: Apache-2.0
//
// What every compressor does to learning: a perceptron on MNIST's test images, 4 ranks on threads, as many steps as the dense run
//
//   compress_quality [FOLDER [steps]]   FOLDER has MNIST's t10k files, packed or not; 8,000 images train, 2,000 test
//
// A line of a markdown table for each: bytes that a rank hands over a step after the first quarter (mean), relative to dense,
// accuracy, and points of accuracy behind the dense run with the same optimizer. "value <name>_points <x>".

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <entrain/entrain.hpp>

namespace en = entrain;

namespace {

struct task {
  en::data::idx digits;
  std::uint64_t steps;
};

struct outcome {
  double accuracy = 0, bytes = 0;
};

template <class Optimizer, class C>
outcome train(const task& what, const Optimizer& optimizer, const C& c) {
  outcome out;
  en::comm::run_ranks(4, [&](en::comm::threads& world) {
    std::vector<en::monitor::step_event> events;
    en::trainer run{en::nn::mlp{.inputs = 784, .hidden = {128}, .outputs = 10}, en::optim::scheduled{optimizer, en::optim::schedule::cosine{what.steps, 0.05}}, world, c,
                    en::monitor::record{events, world.rank()}};
    run.fit(what.digits.subset(0, 8000), {.steps = what.steps, .batch = 64});
    const auto result = run.evaluate(what.digits.subset(8000, 2000));
    if (world.rank() != 0) return;
    out.accuracy = 100 * result.accuracy();
    std::size_t counted = 0;
    for (std::size_t s = events.size() / 4; s < events.size(); ++s) out.bytes += double(events[s].bytes_sent), ++counted;
    out.bytes /= double(counted);
  });
  return out;
}

class table {
 public:
  explicit table(const task& t) : task_(t) {}

  template <class Optimizer>
  void begin(const Optimizer& optimizer, const char* name) {
    dense_ = train(task_, optimizer, en::compress::none{});
    std::printf("\n%s: dense %.2f %%, %.0f bytes a step\n\n", name, dense_.accuracy, dense_.bytes);
    std::printf("| policy | bytes a step | of dense | accuracy | points behind dense |\n| --- | --- | --- | --- | --- |\n");
  }
  template <class Optimizer, class C>
  void row(const std::string& name, const Optimizer& optimizer, const C& c) {
    const auto found = train(task_, optimizer, c);
    std::printf("| %s | %.0f | %.4f | %.2f | %.2f |\n", name.c_str(), found.bytes, found.bytes / dense_.bytes, found.accuracy, dense_.accuracy - found.accuracy);
    std::fflush(stdout);
    values_.push_back("value " + name + "_points " + std::to_string(dense_.accuracy - found.accuracy));
  }
  void end() const {
    std::printf("\n");
    for (const auto& v : values_) std::printf("%s\n", v.c_str());
  }

 private:
  const task& task_;
  outcome dense_;
  std::vector<std::string> values_;
};

void run(const std::filesystem::path& folder, std::uint64_t steps) {
  using namespace en::compress;
  const auto file = [&](const char* name) { return std::filesystem::exists(folder / name) ? folder / name : folder / (std::string(name) + ".gz"); };
  const task t{en::data::idx{file("t10k-images-idx3-ubyte"), file("t10k-labels-idx1-ubyte")}, steps};
  table out(t);

  const en::optim::sgd sgd{.learning_rate = 0.05, .momentum = 0.9};
  const auto matrices = [](const auto& c) { return per_layer{rule{c, {.matrices = true}}, none{}}; };
  out.begin(sgd, "SGD with momentum");
  out.row("cast_bf16", sgd, cast<en::bfloat16>{});
  out.row("qsgd", sgd, qsgd{.levels = 16, .bucket = 512});
  out.row("elias_qsgd", sgd, elias_qsgd{.levels = 4, .bucket = 512});
  out.row("terngrad", sgd, matrices(terngrad{}));
  out.row("sign_ef", sgd, error_feedback{sign{}});
  out.row("one_bit_ef", sgd, error_feedback{one_bit{}});
  out.row("top_k_1pc_ef", sgd, error_feedback{top_k{.ratio = 0.01}});
  out.row("top_k_1pc_alone", sgd, top_k{.ratio = 0.01});
  out.row("top_k_0.1pc_ef", sgd, error_feedback{top_k{.ratio = 0.001}});
  out.row("top_k_0.1pc_alone", sgd, top_k{.ratio = 0.001});
  out.row("sampled_top_k_1pc_ef", sgd, error_feedback{sampled_top_k{.ratio = 0.01}});
  out.row("adaptive_threshold_1pc_ef", sgd, error_feedback{adaptive_threshold{.ratio = 0.01}});
  out.row("dragonn_1pc_ef", sgd, error_feedback{dragonn{.ratio = 0.01}});
  out.row("dragonn_1pc_alone", sgd, dragonn{.ratio = 0.01});
  out.row("variance_based_10pc", sgd, variance_based{.ratio = 0.1});
  out.row("sketched_sgd_1pc", sgd, matrices(sketched_sgd{.ratio = 0.01}));
  out.row("power_sgd_2", sgd, matrices(power_sgd{.rank = 2}));
  out.row("top_k_1pc_qsgd_ef", sgd, error_feedback{chain{top_k{.ratio = 0.01}, qsgd{.levels = 15, .bucket = 0, .scale = norm::maximum}}});
  out.row("scaled_qsgd_ef", sgd, error_feedback{scaled{qsgd{.levels = 4, .bucket = 64}}});

  const en::optim::sgd votes{.learning_rate = 1e-3};
  out.row("majority_vote", votes, majority_vote{.momentum = 0.9});

  // A residual that waits for many steps, or for a second one, wants a lower rate.
  const en::optim::sgd slow{.learning_rate = 0.01, .momentum = 0.9};
  out.begin(slow, "SGD with momentum at a fifth of the rate");
  out.row("sign_ef_slow", slow, error_feedback{sign{}});
  out.row("two_phase_sign", slow, two_phase{sign{}});
  out.row("random_k_5pc_ef", slow, error_feedback{random_k{.ratio = 0.05}});

  const en::optim::one_bit_adam adam{.learning_rate = 1e-3, .freeze_after = steps / 5};
  out.begin(en::optim::adamw{.learning_rate = 1e-3, .weight_decay = 0}, "Adam");
  out.row("one_bit_adam", adam, one_bit_momentum_of(adam));
  out.end();
}

}  // namespace

int main(int argc, char** argv) {
  return en::run_main(argc, argv, [&](en::comm::mpi& world) {
    if (world.size() > 1) throw en::usage_error("compress_quality", "has its ranks on threads", "one process", std::to_string(world.size()));
    const char* data = std::getenv("ENTRAIN_DATA");
    std::filesystem::path folder = (data ? std::filesystem::path(data) : std::filesystem::path(ENTRAIN_SOURCE_DIR).parent_path() / "shared" / "data") / "mnist";
    if (argc > 1) folder = argv[1];
    run(folder, argc > 2 ? std::stoull(argv[2]) : 1250);
  });
}
