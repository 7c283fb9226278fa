// SPDX-License-Identifier: Apache-2.0
//
// What every compressor does to learning: a perceptron on MNIST's test images, 4 ranks on threads, as many steps as the dense run
//
//   compress_quality [FOLDER [steps [seed]]]   FOLDER has MNIST's t10k files, packed or not; 8,000 images train, 2,000 test
//
// A line of a markdown table for each: bytes that a rank hands over a step after the first quarter (mean), how many times less than
// dense, accuracy, points behind the dense run, and the claim. Without MNIST the digits are drawn. "value <name>_points <x>".
// The last table tries rates for the four methods whose rate was chosen here; it counts towards no claim.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/entrain.hpp>

#include "../examples/glyphs.hpp"

namespace en = entrain;

namespace {

// Images in memory, wherever they come from.
struct pictures {
  using batch_type = en::labelled_batch;
  std::vector<float> pixels;
  std::vector<std::int32_t> labels;

  template <class Dataset>
  explicit pictures(const Dataset& from) {
    std::vector<std::uint64_t> all(from.size());
    std::iota(all.begin(), all.end(), 0);
    en::labelled_batch batch;
    from.fill(all, batch);
    pixels.assign(batch.inputs.begin(), batch.inputs.end()), labels.assign(batch.targets.begin(), batch.targets.end());
  }
  std::uint64_t size() const { return labels.size(); }
  void fill(std::span<const std::uint64_t> indices, en::labelled_batch& batch) const {
    batch.resize(indices.size(), 28 * 28);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      std::copy_n(pixels.begin() + std::ptrdiff_t(indices[s] * 784), 784, batch.inputs.begin() + std::ptrdiff_t(s * 784));
      batch.targets[s] = labels[indices[s]];
    }
  }
};

struct task {
  pictures train, test;
  std::uint64_t steps, seed;
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
    run.initialise(what.seed);
    run.fit(what.train, {.steps = what.steps, .batch = 64, .seed = what.seed});
    const auto result = run.evaluate(what.test);
    if (world.rank() != 0) return;
    out.accuracy = 100 * result.accuracy();
    std::size_t counted = 0;
    for (std::size_t s = events.size() / 4; s < events.size(); ++s) out.bytes += double(events[s].bytes_sent), ++counted;
    out.bytes /= double(counted);
  });
  return out;
}

// What a paper says, in points of accuracy behind the dense run. Most say "as dense", of other models and data: we take that for one point.
struct claim {
  double most;
  bool worse = false;  // without error feedback it is visibly worse: at least so many
};

class table {
 public:
  explicit table(const task& t) : task_(t) {}

  template <class Optimizer>
  void begin(const Optimizer& optimizer, const std::string& name) {
    dense_ = train(task_, optimizer, en::compress::none{});
    std::printf("\n%s: dense %.2f %%, %.0f bytes a step\n\n", name.c_str(), dense_.accuracy, dense_.bytes);
    std::printf("| policy | bytes a step | times less | accuracy | points behind dense | claimed | held |\n| --- | --- | --- | --- | --- | --- | --- |\n");
  }
  template <class Optimizer, class C>
  void row(const std::string& name, const claim& says, const Optimizer& optimizer, const C& c) {
    const auto [behind, held] = line(name, says, optimizer, c);
    values_.push_back("value " + name.substr(0, name.find(',')) + "_points " + std::to_string(behind));
    held_ += held;
  }
  // A setting that was not chosen: held to the same claim, not counted.
  template <class Optimizer, class C>
  void tried(const std::string& name, const claim& says, const Optimizer& optimizer, const C& c) const {
    line(name, says, optimizer, c);
  }
  void end() const {
    std::printf("\n");
    for (const auto& v : values_) std::printf("%s\n", v.c_str());
    std::printf("value claims_held %d\nvalue claims %zu\n", held_, values_.size());
  }

 private:
  template <class Optimizer, class C>
  std::pair<double, bool> line(const std::string& name, const claim& says, const Optimizer& optimizer, const C& c) const {
    const auto found = train(task_, optimizer, c);
    const double behind = dense_.accuracy - found.accuracy;
    const bool held = says.worse ? behind >= says.most : behind <= says.most;
    std::printf("| %s | %.0f | %.1f | %.2f | %.2f | %s %.1f | %s |\n", name.c_str(), found.bytes, dense_.bytes / found.bytes, found.accuracy, behind, says.worse ? "at least" : "at most", says.most,
                held ? "yes" : "no");
    std::fflush(stdout);
    return {behind, held};
  }

  const task& task_;
  outcome dense_;
  int held_ = 0;
  std::vector<std::string> values_;
};

void run(const task& t) {
  using namespace en::compress;
  table out(t);

  const auto sgd = [](double rate) { return en::optim::sgd{.learning_rate = rate, .momentum = 0.9}; };
  const auto matrices = [](const auto& c) { return per_layer{rule{c, {.matrices = true}}, none{}}; };
  const auto usual = sgd(0.05);
  out.begin(usual, "SGD, momentum 0.9, rate 0.05");
  out.row("cast_bf16", {0.5}, usual, cast<en::bfloat16>{});
  out.row("cast_e4m3", {1}, usual, cast<en::float8_e4m3>{});
  out.row("block_float8", {1}, usual, block_float8{});
  out.row("natural", {1}, usual, natural{});
  out.row("qsgd, 16 levels", {1}, usual, qsgd{.levels = 16, .bucket = 512});
  out.row("elias_qsgd, 4 levels", {1}, usual, elias_qsgd{.levels = 4, .bucket = 512});
  out.row("terngrad", {1}, usual, matrices(terngrad{}));
  out.row("one_bit_ef", {1}, usual, error_feedback{one_bit{}});
  out.row("top_k_1pc_ef", {1}, usual, error_feedback{top_k{.ratio = 0.01}});
  out.row("top_k_1pc_alone", {1.5, true}, usual, top_k{.ratio = 0.01});
  out.row("top_k_0.1pc_ef", {2}, usual, error_feedback{top_k{.ratio = 0.001}});
  out.row("top_k_0.1pc_alone", {4, true}, usual, top_k{.ratio = 0.001});
  out.row("sampled_top_k_1pc_ef", {1}, usual, error_feedback{sampled_top_k{.ratio = 0.01}});
  out.row("adaptive_threshold_1pc_ef", {1}, usual, error_feedback{adaptive_threshold{.ratio = 0.01}});
  out.row("dragonn_1pc_ef", {1}, usual, error_feedback{dragonn{.ratio = 0.01}});
  out.row("dragonn_1pc_alone", {1.5, true}, usual, dragonn{.ratio = 0.01});
  out.row("dgc_0.1pc", {1}, en::optim::sgd{.learning_rate = 0.05},
          per_layer{rule{dgc{.ratio = 0.001, .steps_each = t.steps / 20}, {.matrices = true, .at_least = 1024}}, momentum_correction{none{}}});
  out.row("variance_based_10pc", {1}, usual, variance_based{.ratio = 0.1});
  out.row("sketched_sgd_1pc", {1}, usual, matrices(sketched_sgd{.ratio = 0.01}));
  out.row("power_sgd_2", {1}, usual, matrices(power_sgd{.rank = 2}));
  out.row("top_k_1pc_qsgd_ef", {1}, usual, error_feedback{chain{top_k{.ratio = 0.01}, qsgd{.levels = 15, .bucket = 0, .scale = norm::maximum}}});
  out.row("two_phase_sign, rate 0.02", {1}, sgd(0.02), two_phase{sign{}});
  out.row("majority_vote, rate 0.001", {1}, en::optim::sgd{.learning_rate = 1e-3}, majority_vote{.momentum = 0.9});

  // The analyses of signs, random values and sparsifications that are scaled up are of SGD without momentum.
  const en::optim::sgd plain{.learning_rate = 0.2};
  out.begin(plain, "SGD without momentum, rate 0.2");
  out.row("sign_ef", {1}, plain, error_feedback{sign{}});
  out.row("random_k_5pc_ef", {1}, plain, error_feedback{random_k{.ratio = 0.05}});
  out.row("scaled_qsgd_ef", {1}, plain, error_feedback{scaled{qsgd{.levels = 4, .bucket = 64}}});
  out.row("jointspar_75pc", {1}, plain, jointspar{.share = 0.75});

  const en::optim::one_bit_adam adam{.learning_rate = 1e-3, .freeze_after = t.steps / 5};
  out.begin(en::optim::adamw{.learning_rate = 1e-3, .weight_decay = 0}, "Adam, rate 0.001");
  out.row("one_bit_adam", {1}, adam, one_bit_momentum_of(adam));

  // How the rates above were chosen. What waits in a residual is delayed; momentum and a high rate magnify the delay.
  out.begin(usual, "Rates tried, SGD, momentum 0.9, against the rate of 0.05");
  for (const double rate : {0.05, 0.02, 0.01}) {
    const std::string at = ", rate " + std::to_string(rate).substr(0, 4);
    out.tried("none" + at, {1}, sgd(rate), none{});
    out.tried("two_phase_sign" + at, {1}, sgd(rate), two_phase{sign{}});
    out.tried("sign_ef" + at, {1}, sgd(rate), error_feedback{sign{}});
    out.tried("random_k_5pc_ef" + at, {1}, sgd(rate), error_feedback{random_k{.ratio = 0.05}});
    out.tried("scaled_qsgd_ef" + at, {1}, sgd(rate), error_feedback{scaled{qsgd{.levels = 4, .bucket = 64}}});
  }
  out.end();
}

task load(const std::filesystem::path& folder, std::uint64_t steps, std::uint64_t seed) {
  const auto file = [&](const char* name) { return std::filesystem::exists(folder / name) ? folder / name : folder / (std::string(name) + ".gz"); };
  if (!std::filesystem::exists(file("t10k-images-idx3-ubyte"))) {
    std::printf("no MNIST in %s: drawn digits instead\n", folder.c_str());
    return {pictures(glyphs{.samples = 8000}), pictures(glyphs{.samples = 2000, .seed = 2}), steps, seed};
  }
  const en::data::idx digits{file("t10k-images-idx3-ubyte"), file("t10k-labels-idx1-ubyte")};
  return {pictures(digits.subset(0, 8000)), pictures(digits.subset(8000, 2000)), steps, seed};
}

}  // namespace

int main(int argc, char** argv) {
  return en::run_main(argc, argv, [&](en::comm::mpi& world) {
    if (world.size() > 1) throw en::usage_error("compress_quality", "has its ranks on threads", "one process", std::to_string(world.size()));
    const char* data = std::getenv("ENTRAIN_DATA");
    std::filesystem::path folder = (data ? std::filesystem::path(data) : std::filesystem::path(ENTRAIN_SOURCE_DIR).parent_path() / "shared" / "data") / "mnist";
    if (argc > 1) folder = argv[1];
    run(load(folder, argc > 2 ? std::stoull(argv[2]) : 1250, argc > 3 ? std::stoull(argv[3]) : 1));
  });
}
