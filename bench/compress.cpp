// SPDX-License-Identifier: Apache-2.0
//
// Every compressor on 16 MiB of fp32 and one core: against memcpy, exact selection, and PyTorch doing the same
//
//   compress [--python PATH] [--peer bench/compress.py] [--rounds N] [--alone] [name...]
//
// The vector is Gaussian, 2048 x 2048. What is compared takes turns, so that all see the same machine; medians.
//   memcpy_share     the time to copy the vector, by the time to encode and decode it; in turns of their own, so that the vector
//                    stays in the shared cache: from memory copying is slowed down more, and shares are larger
//   vs_nth_element   std::nth_element on a copy of the magnitudes and collecting what is above, by the time to encode
//   vs_torch         encoding and decoding there, by ours
// Without a peer (--alone) its ratios are left out.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <entrain/compress/adaptive_threshold.hpp>
#include <entrain/compress/block_float8.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/chain.hpp>
#include <entrain/compress/dgc.hpp>
#include <entrain/compress/dragonn.hpp>
#include <entrain/compress/elias_qsgd.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/majority_vote.hpp>
#include <entrain/compress/measure.hpp>
#include <entrain/compress/natural.hpp>
#include <entrain/compress/one_bit.hpp>
#include <entrain/compress/one_bit_momentum.hpp>
#include <entrain/compress/power_sgd.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/random_k.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/sketch.hpp>
#include <entrain/compress/sketched_sgd.hpp>
#include <entrain/compress/stochastic_cast.hpp>
#include <entrain/compress/terngrad.hpp>
#include <entrain/compress/threshold.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/compress/two_phase.hpp>
#include <entrain/compress/variance_based.hpp>

namespace en = entrain;
namespace compress = entrain::compress;

namespace {

constexpr std::size_t rows = 2048, columns = 2048, n = rows * columns;

double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// A child process spoken to by lines.
class peer {
 public:
  peer(const std::string& python, const std::string& script) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) throw en::error("compress", "no pipes for the peer");
    child_ = fork();
    if (child_ == 0) {
      dup2(to[0], 0), dup2(from[1], 1);
      for (const int end : {to[0], to[1], from[0], from[1]}) close(end);
      execl(python.c_str(), python.c_str(), script.c_str(), nullptr);
      _exit(127);
    }
    close(to[0]), close(from[1]);
    out_ = fdopen(to[1], "w"), in_ = fdopen(from[0], "r");
    std::printf("peer: %s\n", read_line().c_str());
  }
  ~peer() {
    std::fputs("quit\n", out_);
    std::fclose(out_), std::fclose(in_);
    waitpid(child_, nullptr, 0);
  }
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  std::string ask(const std::string& line) {
    std::fprintf(out_, "%s\n", line.c_str());
    std::fflush(out_);
    return read_line();
  }

 private:
  std::string read_line() {
    std::string line;
    for (int c = 0; (c = std::fgetc(in_)) != '\n';) {
      if (c == EOF) throw en::error("compress", "the peer ended; its messages are above");
      line += char(c);
    }
    return line;
  }
  pid_t child_ = -1;
  std::FILE *out_ = nullptr, *in_ = nullptr;
};

struct options {
  std::string python, script = "bench/compress.py";
  int rounds = 9;
  std::vector<std::string> names;
};

class bench {
 public:
  explicit bench(const options& o) : options_(o), gradient_(n), values_(n), sum_(n), magnitudes_(n), collected_(n / 50) {
    const en::random_stream random(1, en::purpose::user);
    for (std::size_t i = 0; i < n; ++i) gradient_[i] = float(random.normal(i));
    if (!o.python.empty()) {
      peer_ = std::make_unique<peer>(o.python, o.script);
      char path[] = "/tmp/entrain_bench_XXXXXX";
      const int file = mkstemp(path);
      const bool written = file >= 0 && write(file, gradient_.data(), n * sizeof(float)) == ssize_t(n * sizeof(float));
      if (file >= 0) close(file);
      if (!written) throw en::error("compress", "the peer's vector cannot be written");
      peer_->ask(std::string("load ") + path);
      unlink(path);
    }
    std::printf("%-22s %9s %9s %9s %8s %7s %9s %9s\n", "", "encode", "decode", "bytes", "error", "memcpy", "nth_el.", "PyTorch");
  }

  // there: what the peer is told to do, empty where it has nothing of the kind. ratio: of what selects, for the comparison with
  // exact selection.
  template <class C>
  void operator()(const std::string& name, const C& compressor, const std::string& there = {}, double ratio = 0) {
    if (!options_.names.empty() && std::find(options_.names.begin(), options_.names.end(), name) == options_.names.end()) return;
    compress::block shape(rows, columns);
    shape.ranks = 4;
    compress::detail::coder<float, C> one(compressor, shape);
    const bool has_peer = peer_ && !there.empty();
    if (has_peer) peer_->ask("use " + there);
    const double lost = error(one);
    turns own, compared;
    for (int i = 0; i < 3 * options_.rounds; ++i) turn(one, own);
    std::vector<double> exact, torch;
    for (int i = 0; i < options_.rounds && (ratio > 0 || has_peer); ++i) {
      turn(one, compared);
      if (ratio > 0) exact.push_back(seconds([&] { select(std::size_t(std::ceil(ratio * double(n)))); }));
      if (has_peer) torch.push_back(std::stod(peer_->ask("run")));
    }
    const auto ms = [](double s) {
      char text[32] = "-";
      if (s > 0) std::snprintf(text, sizeof text, "%.2f ms", s * 1e3);
      return std::string(text);
    };
    std::printf("%-22s %9s %9s %9zu %8.3f %7s %9s %9s\n", name.c_str(), ms(median(own.encode)).c_str(), ms(median(own.decode)).c_str(), one.bytes(), lost, ms(median(own.copy)).c_str(),
                ms(median(exact)).c_str(), ms(median(torch)).c_str());
    results_ << "value " << name << "_memcpy_share " << median(own.copy) / own.both() << '\n';
    if (ratio > 0) results_ << "ratio " << name << "_vs_nth_element " << median(exact) / median(compared.encode) << '\n';
    if (has_peer) results_ << "ratio " << name << "_vs_torch " << median(torch) / compared.both() << '\n';
    std::fflush(stdout);
  }

  std::string results() const { return results_.str(); }

 private:
  struct turns {
    std::vector<double> copy, encode, decode;
    double both() const { return median(encode) + median(decode); }
  };
  template <class Coder>
  void turn(Coder& one, turns& t) {
    t.copy.push_back(seconds([&] { std::memcpy(values_.data(), gradient_.data(), n * sizeof(float)); }));
    t.encode.push_back(seconds([&] { one.encode(values_.span()); }));
    t.decode.push_back(seconds([&] { one.decode(sum_.span()); }));
  }

  // |x - decoded| / |x| of the first step; also touches all memory once.
  template <class Coder>
  double error(Coder& one) {
    std::copy(gradient_.begin(), gradient_.end(), values_.begin());
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    one.encode(values_.span());
    one.decode(sum_.span());
    double lost = 0, all = 0;
    for (std::size_t i = 0; i < n; ++i) lost += std::pow(double(gradient_[i]) - double(sum_[i]), 2), all += std::pow(double(gradient_[i]), 2);
    return std::sqrt(lost / all);
  }

  // The k entries of largest magnitude by the standard library.
  void select(std::size_t k) {
    for (std::size_t i = 0; i < n; ++i) magnitudes_[i] = std::abs(gradient_[i]);
    const auto at = magnitudes_.begin() + std::ptrdiff_t(k - 1);
    std::nth_element(magnitudes_.begin(), at, magnitudes_.end(), std::greater<>());
    std::size_t found = 0;
    for (std::size_t i = 0; i < n && found < collected_.size(); ++i)
      if (std::abs(gradient_[i]) >= *at) collected_[found++] = {std::uint32_t(i), gradient_[i]};
  }

  const options& options_;
  en::buffer<float> gradient_, values_, sum_, magnitudes_;
  std::vector<compress::sparse_entry<float>> collected_;
  std::unique_ptr<peer> peer_;
  std::ostringstream results_;
};

// One line each: name, policy, what the peer does, ratio of what selects.
void run(bench& b) {
  b("cast_bf16", compress::cast<en::bfloat16>{}, "cast bfloat16");
  b("cast_f16", compress::cast<en::float16>{}, "cast float16");
  b("cast_f8_e4m3", compress::cast<en::float8_e4m3>{}, "cast float8_e4m3fn");
  b("stochastic_bf16", compress::stochastic_cast<en::bfloat16>{});
  b("natural", compress::natural{}, "natural");
  b("block_float8", compress::block_float8<>{}, "block_float8 128");
  b("sign", compress::sign{}, "sign");
  b("one_bit", compress::one_bit{}, "one_bit 2048");
  b("terngrad", compress::terngrad{}, "terngrad");
  b("qsgd", compress::qsgd{}, "qsgd 16 1024");
  b("elias_qsgd", compress::elias_qsgd{});
  b("top_k", compress::top_k{.ratio = 0.01}, "top_k 0.01", 0.01);
  b("sampled_top_k", compress::sampled_top_k{.ratio = 0.01}, "sampled_top_k 0.01", 0.01);
  b("dragonn", compress::dragonn{.ratio = 0.01}, "dragonn 0.01", 0.01);
  b("threshold", compress::threshold{.value = 2.5758, .most = 0.02}, "threshold 2.5758", 0.01);
  b("adaptive_threshold", compress::adaptive_threshold{.ratio = 0.01}, "sampled_top_k 0.01", 0.01);
  b("dgc", compress::dgc{.ratio = 0.01, .steps_each = 0});
  b("random_k", compress::random_k{.ratio = 0.01}, "random_k 0.01");
  b("variance_based", compress::variance_based{.ratio = 0.01});
  b("sketch", compress::sketch{.ratio = 0.01});
  b("sketched_sgd", compress::sketched_sgd{.ratio = 0.01});
  b("power_sgd", compress::power_sgd{.rank = 4}, "power_sgd 2048 4");
  b("two_phase_sign", compress::two_phase{compress::sign{}});
  b("majority_vote", compress::majority_vote{});
  b("one_bit_momentum", compress::one_bit_momentum{.freeze_after = 0});
  b("chain_top_k_qsgd", compress::chain{compress::top_k{.ratio = 0.01}, compress::qsgd{}, compress::delta_indices{}});
  b("feedback_top_k", compress::error_feedback{compress::top_k{.ratio = 0.01}});
  b("feedback_sign", compress::error_feedback{compress::sign{}});
}

options parse(int argc, char** argv) {
  options o;
  if (const char* python = std::getenv("ENTRAIN_PEER_PYTHON")) o.python = python;
  if (const char* source = std::getenv("ENTRAIN_SOURCE_DIR")) o.script = std::string(source) + "/bench/compress.py";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--python" && has_value) o.python = argv[++i];
    else if (word == "--peer" && has_value) o.script = argv[++i];
    else if (word == "--rounds" && has_value) o.rounds = std::max(1, std::atoi(argv[++i]));
    else if (word == "--alone") o.python.clear();
    else o.names.push_back(word);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const options o = parse(argc, argv);
    bench b(o);
    run(b);
    std::fputs(b.results().c_str(), stdout);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
