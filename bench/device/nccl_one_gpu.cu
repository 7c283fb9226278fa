// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <entrain/comm/nccl.hpp>

// Do several ranks of comm::nccl work on one GPU? NCCL refuses two ranks of one host on one device; here each process says that it is
// another host (NCCL_HOSTID), so that NCCL goes through sockets. An answer either way is a result; wrong sums are a failure.

using namespace entrain;

namespace {

int rank_main(int rank, int ranks, const std::filesystem::path& path) {
  ::setenv("NCCL_HOSTID", ("entrain-" + std::to_string(rank)).c_str(), 1);
  try {
    const auto engine = engine::cuda{}.start();
    comm::nccl_ranks job{rank, ranks};
    comm::nccl world{job, engine, comm::nccl_id_from_file(path, rank, std::chrono::seconds(30)), {.deadline = std::chrono::seconds(45)}};
    const std::size_t n = std::size_t(4) << 20;
    const std::vector<float> ones(n, float(rank + 1));
    std::vector<float> sums(n);
    buffer<float, cuda_space> in(n), out(n);
    engine.copy(ones.data(), in.data(), n);
    comm::all_reduce(world, in, out);
    engine.copy(out.data(), sums.data(), n);
    engine.wait();
    for (const float sum : sums)
      if (sum != float(ranks * (ranks + 1) / 2)) return std::printf("%d ranks on one GPU: wrong sum %g\n", ranks, double(sum)), 1;
    constexpr int repeats = 10;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) comm::all_reduce(world, in, out);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repeats;
    if (rank == 0) std::printf("%d ranks on one GPU with distinct NCCL_HOSTID: work; all_reduce of 16 MiB in %.3f ms\n", ranks, seconds * 1e3);
    return 0;
  } catch (const communication_error& e) {
    std::printf("%d ranks on one GPU with distinct NCCL_HOSTID: do not work: %s\n", ranks, e.what());
    return 0;
  } catch (const std::exception& e) {  // NCCL was not asked
    std::printf("%s\n", e.what());
    return 1;
  }
}

}  // namespace

int main() {
  int failures = 0;
  for (const int ranks : {2, 4}) {
    const auto path = std::filesystem::temp_directory_path() / ("entrain_nccl_" + std::to_string(::getpid()) + "_" + std::to_string(ranks));
    std::fflush(stdout);
    for (int rank = 0; rank < ranks; ++rank)
      if (::fork() == 0) {
        const int code = rank_main(rank, ranks, path);
        std::fflush(stdout);
        ::_exit(code);
      }
    for (int rank = 0, status = 0; rank < ranks; ++rank)
      if (::wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failures;
    std::filesystem::remove(path);
  }
  return failures > 0;
}
