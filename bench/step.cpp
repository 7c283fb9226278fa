// SPDX-License-Identifier: Apache-2.0
//
// The training step of two GPTs, composed by the trainer, against the same model in PyTorch, one thread a rank.
//
//   step [--python PATH] [--peer bench/step.py] [--rounds N] [small] [gpt2] [ranks]
//
// Both programs live at once and take turns, so that both see the same machine; medians over all steps. Shares of peak
// count the model's arithmetic (6 a weight and token, causal attention as half of a square) against the fastest large
// matrix product of this program on this core. Without a peer only our own figures are printed.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <entrain/comm/threads.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

namespace en = entrain;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// A child process spoken to by lines.
class peer {
 public:
  peer(const std::string& python, const std::string& script, int ranks) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) throw en::error("step", "no pipes for the peer");
    child_ = fork();
    if (child_ == 0) {
      dup2(to[0], 0), dup2(from[1], 1);
      for (const int end : {to[0], to[1], from[0], from[1]}) close(end);
      const std::string count = std::to_string(ranks);
      execl(python.c_str(), python.c_str(), script.c_str(), "--ranks", count.c_str(), nullptr);
      _exit(127);
    }
    close(to[0]), close(from[1]);
    out_ = fdopen(to[1], "w"), in_ = fdopen(from[0], "r");
    version_ = read_line();
  }
  ~peer() {
    std::fputs("quit\n", out_);
    std::fclose(out_), std::fclose(in_);
    waitpid(child_, nullptr, 0);
  }
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  const std::string& version() const { return version_; }
  std::string ask(const std::string& line) {
    std::fprintf(out_, "%s\n", line.c_str());
    std::fflush(out_);
    return read_line();
  }
  void run(std::size_t steps, std::vector<double>& times) {
    std::istringstream answer(ask("run " + std::to_string(steps)));
    for (double t = 0; answer >> t;) times.push_back(t);
  }

 private:
  std::string read_line() {
    std::string line;
    for (int c = 0; (c = std::fgetc(in_)) != '\n';) {
      if (c == EOF) throw en::error("step", "the peer ended; its messages are above");
      line += char(c);
    }
    return line;
  }
  pid_t child_ = -1;
  std::FILE *out_ = nullptr, *in_ = nullptr;
  std::string version_;
};

struct setting {
  std::string name;
  en::nn::gpt model;
  std::size_t batch, turn;  // samples a rank, steps a turn
  double tokens() const { return double(batch * model.context); }
  double flops() const {
    const double l = double(model.layers), c = double(model.width);
    return 6 * tokens() * (l * 12 * c * c + double(model.vocabulary) * c) + 6 * tokens() * l * c * double(model.context);
  }
};

const setting small{"small", {.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65}, 12, 20};
const setting small_half{"small_half", small.model, 6, 20};  // a rank's part when two share the batch of 12
const setting gpt2{"gpt2", {.layers = 12, .heads = 12, .width = 768, .context = 64, .vocabulary = 50257}, 4, 2};
constexpr en::optim::adamw optimizer{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1};

void fill(en::token_batch& batch, const setting& s, std::uint64_t step, int rank) {
  const en::random_stream random(1, en::purpose::user, std::uint32_t(rank), step);
  batch.resize(s.batch, s.model.context);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    batch.inputs[i] = std::int32_t(random.below(2 * i, s.model.vocabulary));
    batch.targets[i] = std::int32_t(random.below(2 * i + 1, s.model.vocabulary));
  }
}

template <class Trainer>
void steps(Trainer& run, const setting& s, std::size_t count, int rank, std::vector<double>* times) {
  en::token_batch batch;
  for (std::size_t i = 0; i < count; ++i) {
    fill(batch, s, run.steps(), rank);
    const double begin = seconds();
    run.step(batch);
    if (times) times->push_back(seconds() - begin);
  }
}

struct result {
  std::vector<double> ours, theirs;
  double ratio() const { return median(theirs) / median(ours); }
  void print(const std::string& name) const {
    const auto least = [](const std::vector<double>& v) { return v.empty() ? 0 : *std::min_element(v.begin(), v.end()); };
    std::printf("%-16s ours: median %9.3f ms, least %9.3f ms", name.c_str(), median(ours) * 1e3, least(ours) * 1e3);
    if (!theirs.empty()) std::printf("   PyTorch: median %9.3f ms, least %9.3f ms", median(theirs) * 1e3, least(theirs) * 1e3);
    std::printf("\n");
  }
};

result one_rank(const setting& s, std::size_t rounds, peer* other) {
  en::trainer run{s.model, optimizer};
  result r;
  if (other) {
    other->ask("model " + s.name);
    other->ask("run " + std::to_string(s.turn));
  }
  steps(run, s, s.turn, 0, nullptr);
  for (std::size_t i = 0; i < rounds; ++i) {
    steps(run, s, s.turn, 0, &r.ours);
    if (other) other->run(s.turn, r.theirs);
  }
  return r;
}

// Each turn begins anew, so that no thread of ours waits while the peer computes.
result two_ranks(const setting& s, std::size_t rounds, peer* other) {
  result r;
  if (other) {
    other->ask("model " + s.name);
    other->ask("run " + std::to_string(s.turn));
  }
  for (std::size_t i = 0; i < rounds; ++i) {
    en::comm::run_ranks(2, [&](en::comm::threads& world) {
      en::trainer run{s.model, optimizer, world};
      steps(run, s, s.turn / 2, world.rank(), nullptr);
      steps(run, s, s.turn, world.rank(), world.rank() == 0 ? &r.ours : nullptr);
    });
    if (other) other->run(s.turn, r.theirs);
  }
  return r;
}

// Floating-point operations a second of the best of a few matrix products that fit the second-level cache or do not.
double matmul_peak() {
  double best = 0;
  const en::engine::host engine;
  for (const auto& [m, n, k] : {std::array<std::size_t, 3>{1024, 1024, 1024}, {768, 384, 128}, {768, 512, 512}, {4096, 1024, 512}}) {
    en::buffer<float> a(m * k), b(k * n), c(m * n);
    std::fill(a.begin(), a.end(), 0.5f), std::fill(b.begin(), b.end(), 0.25f);
    for (int i = 0; i < 12; ++i) {
      const double begin = seconds();
      en::nn::op::do_run(engine, en::nn::ops::gemm{.m = m, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n}, static_cast<const float*>(a.data()),
                         static_cast<const float*>(b.data()), c.data());
      best = std::max(best, 2.0 * double(m * n * k) / (seconds() - begin));
    }
  }
  return best;
}

struct options {
  std::string python, script = "bench/step.py";
  std::size_t rounds = 7;
  std::vector<std::string> parts;
  bool wants(const std::string& part) const { return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end(); }
};

options parse(int argc, char** argv) {
  options o;
  if (const char* python = std::getenv("ENTRAIN_PEER_PYTHON")) o.python = python;
  if (const char* source = std::getenv("ENTRAIN_SOURCE_DIR")) o.script = std::string(source) + "/bench/step.py";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--python" && has_value) o.python = argv[++i];
    else if (word == "--peer" && has_value) o.script = argv[++i];
    else if (word == "--rounds" && has_value) o.rounds = std::size_t(std::max(1, std::atoi(argv[++i])));
    else o.parts.push_back(word);
  }
  return o;
}

void benchmark(const options& o) {
  const auto start = [&](int ranks) {
    return o.python.empty() ? nullptr : std::make_unique<peer>(o.python, o.script, ranks);
  };
  const double peak = matmul_peak();
  {
    auto other = start(1);
    if (other) std::printf("peer: %s\n", other->version().c_str());
    const auto compare = [&](const setting& s, const std::string& name) {
      const auto r = one_rank(s, o.rounds, other.get());
      r.print(s.name);
      if (other) std::printf("ratio step_%s %.3f\n", name.c_str(), r.ratio());
      std::printf("value step_%s_peak_share %.3f\n", name.c_str(), s.flops() / median(r.ours) / peak);
      std::fflush(stdout);
    };
    if (o.wants("small")) compare(small, "gpt_small");
    if (o.wants("gpt2")) compare(gpt2, "gpt2_124m");
  }
  if (o.wants("ranks")) {
    // The same step on two ranks (a batch of 12 between them), and a step of twice the batch (12 on each).
    auto other = start(2);
    const auto compare = [&](const setting& s, const std::string& text, const std::string& name) {
      const auto r = two_ranks(s, o.rounds, other.get());
      r.print(text);
      if (other) std::printf("ratio step_gpt_small_2ranks%s %.3f\n", name.c_str(), r.ratio());
    };
    compare(small_half, "2 ranks, 6 each", "");
    compare(small, "2 ranks, 12 each", "_12_each");
  }
  std::printf("value matmul_peak_gflops %.1f\n", peak * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    benchmark(parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
