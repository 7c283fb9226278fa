// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <entrain/checkpoint/checkpoint.hpp>

// The program that test_crash.sh kills at every system call.
//
//   save DIR STEP      saves a state made of STEP into DIR, keeping one
//   limited DIR STEP   the same, with a file size limit below the state's size (a short write, then an error)
//   check DIR          prints the step of the newest state and checks its values bit for bit
//
// Exit codes: 0 done, 1 wrong, 3 an error was reported as it should be.

namespace checkpoint = entrain::checkpoint;

namespace {

struct state {
  std::vector<float> weights;
  std::vector<std::uint64_t> counters;
  std::vector<std::uint8_t> flags;

  state() : weights(75'000), counters(100), flags(400'000) {}
  explicit state(std::uint64_t step) : state() {
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = float(step) + float(i) * 0.25f;
    for (std::size_t i = 0; i < counters.size(); ++i) counters[i] = step * 1000 + i;
    for (std::size_t i = 0; i < flags.size(); ++i) flags[i] = std::uint8_t(step + i * 7);
  }
  void visit(auto&& v) {
    v("weights", std::span(weights));
    v("counters", std::span(counters));
    v("flags", std::span(flags));
  }
  bool operator==(const state&) const = default;
};

int save(const checkpoint::safetensors& policy, std::uint64_t step) {
  state current(step);
  checkpoint::archive out;
  out.add_scalar("step", step);
  out.add_state("state", current);
  policy.save(out, step);
  return 0;
}

int check(const checkpoint::safetensors& policy) {
  const auto found = policy.latest();
  for (const auto& note : found.notes) std::fprintf(stderr, "%s\n", note.c_str());
  if (!found || !found.notes.empty()) return std::fprintf(stderr, "no state, or a visible damaged file\n"), 1;
  const auto in = checkpoint::archive::load(found.path);
  state loaded;
  in.read_state("state", loaded);
  const auto step = in.read_scalar<std::uint64_t>("step");
  if (step != found.step || loaded != state(step)) return std::fprintf(stderr, "wrong values in step %d\n", int(step)), 1;
  std::printf("%d\n", int(step));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  const checkpoint::safetensors policy{.directory = argc > 2 ? argv[2] : ".", .every = 1, .keep = 1};
  const std::uint64_t step = argc > 3 ? std::stoull(argv[3]) : 1;
  try {
    if (command == "check") return check(policy);
    if (command == "limited") {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{500'001, 500'001};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    return save(policy, step);
  } catch (const entrain::file_error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 3;
  }
}
