// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <entrain/comm/nccl.hpp>

// Do several ranks of comm::nccl work on one GPU? NCCL refuses two ranks of one host on one device; here each process says that it is
// another host (NCCL_HOSTID), and the ways between processes of one host are shut, so that NCCL goes through sockets over the loopback
// interface. Nothing but this program is needed: it starts the ranks, the unique id travels by a file. An answer either way, one line for
// 2 and one for 4 ranks, is a result; wrong sums are a failure.
//
//   nccl_one_gpu [SECONDS]    most that one attempt may take; 40

using namespace entrain;

namespace {

enum exit_code { works = 0, wrong = 1, refused = 3 };

void speak_over_sockets(int rank) {
  ::setenv("NCCL_HOSTID", ("entrain-" + std::to_string(rank)).c_str(), 1);
  for (const auto& [name, value] : {std::pair{"NCCL_P2P_DISABLE", "1"}, {"NCCL_SHM_DISABLE", "1"}, {"NCCL_IB_DISABLE", "1"}, {"NCCL_SOCKET_IFNAME", "=lo"}})
    ::setenv(name, value, 0);  // whoever starts us may know better
}

// As parallel::sharded does it: each rank's part of the sum where it lies, and then all parts.
bool sums_in_place(comm::nccl<comm::nccl_ranks>& world, const engine::cuda_queue& engine, const buffer<float, cuda_space>& values, float expected) {
  const std::size_t part = values.size() / std::size_t(world.size());
  const view<float, cuda_space> own = values.subview(std::size_t(world.rank()) * part, part);
  comm::reduce_scatter(world, view<const float, cuda_space>(values.all()), own);
  comm::all_gather(world, view<const float, cuda_space>(own), values.all());
  std::vector<float> found(values.size());
  engine.copy(static_cast<const float*>(values.data()), found.data(), found.size());
  engine.wait();
  return std::count(found.begin(), found.end(), expected) == std::ptrdiff_t(found.size());
}

// In a process of its own, which has not touched CUDA before.
exit_code rank_main(int rank, int ranks, const std::filesystem::path& path, std::chrono::milliseconds deadline) {
  speak_over_sockets(rank);
  try {
    const auto engine = engine::cuda{}.start();
    comm::nccl_ranks job{rank, ranks};
    comm::nccl world{job, engine, comm::nccl_id_from_file(path, rank, deadline), {.deadline = deadline}};
    const std::size_t n = std::size_t(4) << 20;
    const std::vector<float> ones(n, float(rank + 1));
    std::vector<float> sums(n);
    buffer<float, cuda_space> in(n), out(n);
    engine.copy(ones.data(), in.data(), n);
    comm::all_reduce(world, in, out);
    engine.copy(out.data(), sums.data(), n);
    engine.wait();
    for (const float sum : sums)
      if (sum != float(ranks * (ranks + 1) / 2)) return std::printf("%d ranks on one GPU, rank %d: wrong sum %g\n", ranks, rank, double(sum)), wrong;
    if (!sums_in_place(world, engine, in, float(ranks * (ranks + 1) / 2))) return std::printf("%d ranks on one GPU, rank %d: wrong sums in place\n", ranks, rank), wrong;
    constexpr int repeats = 10;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) comm::all_reduce(world, in, out);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repeats;
    if (rank == 0) std::printf("%d ranks on one GPU: all_reduce of 16 MiB in %.3f ms\n", ranks, seconds * 1e3);
    return works;
  } catch (const communication_error& e) {
    return std::printf("%d ranks on one GPU: %s\n", ranks, e.what()), refused;
  } catch (const std::exception& e) {  // NCCL was not asked
    return std::printf("%d ranks on one GPU, rank %d: %s\n", ranks, rank, e.what()), wrong;
  }
}

// What became of a process of ours by `end`; killed then.
exit_code outcome_of(pid_t process, std::chrono::steady_clock::time_point end) {
  for (int status = 0;;) {
    const pid_t ended = ::waitpid(process, &status, WNOHANG);
    if (ended == process) return WIFEXITED(status) ? exit_code(WEXITSTATUS(status)) : wrong;
    if (ended < 0 && errno != EINTR) return wrong;
    if (std::chrono::steady_clock::now() >= end) {
      ::kill(process, SIGKILL);
      ::waitpid(process, &status, 0);
      return refused;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

exit_code attempt(int ranks, std::chrono::milliseconds most) {
  const auto path = std::filesystem::temp_directory_path() / ("entrain_nccl_" + std::to_string(::getpid()) + "_" + std::to_string(ranks));
  const auto end = std::chrono::steady_clock::now() + most;
  std::vector<pid_t> processes;
  std::fflush(stdout);
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t process = ::fork();
    if (process == 0) {
      const int code = rank_main(rank, ranks, path, most / 2);
      std::fflush(stdout);
      ::_exit(code);
    }
    if (process > 0) processes.push_back(process);
  }
  exit_code all = int(processes.size()) == ranks ? works : wrong;
  for (const pid_t process : processes)
    if (const exit_code one = outcome_of(process, end); one != works && all != wrong) all = one;
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  const char* said = all == works ? "yes" : all == refused ? "no" : "FAILED";
  std::printf("answer: %d ranks of comm::nccl on one GPU with distinct NCCL_HOSTID: %s\n", ranks, said);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const auto most = std::chrono::milliseconds(int(1000 * (argc > 1 ? std::atof(argv[1]) : 40.0)));
  bool failed = false;
  for (const int ranks : {2, 4}) failed |= attempt(ranks, most) == wrong;
  return failed;
}
