// SPDX-License-Identifier: Apache-2.0
//
// One rank of bench/reproducible.sh: MPI_Allreduce and the reproducible all-reduce (one leaf a rank), in turns
//
// Prints, at rank 0, for each size: value <name>_us of both (median over rounds) and
// ratio reproducible_vs_mpi_<size>_p<p> = MPI's time / ours. Arguments: --rounds N (default 15).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <entrain/comm/mpi.hpp>
#include <entrain/comm/reproducible.hpp>

namespace en = entrain;

namespace {

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + std::ptrdiff_t(x.size() / 2), x.end());
  return x[x.size() / 2];
}

// Seconds a call: the slowest rank's.
template <class Call>
double timed(en::comm::mpi& world, int calls, Call&& call) {
  MPI_Barrier(world.native_handle());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / calls;
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, world.native_handle());
  return seconds;
}

std::string size_name(std::size_t bytes) {
  return bytes >= std::size_t(1) << 20 ? std::to_string(bytes >> 20) + "MiB" : std::to_string(bytes >> 10) + "KiB";
}

}  // namespace

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  int rounds = 15;
  for (int i = 1; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::atoi(argv[i + 1]);

  const auto leaves = std::size_t(world.size());
  for (std::size_t bytes : {std::size_t(64) << 10, std::size_t(1) << 20, std::size_t(4) << 20, std::size_t(16) << 20, std::size_t(64) << 20}) {
    const std::size_t n = bytes / sizeof(float);
    std::vector<float> in(n, float(world.rank() + 1)), out(n);
    const int calls = int(std::clamp<std::size_t>((std::size_t(8) << 20) / bytes, 1, 32));
    const auto mpi = [&] { MPI_Allreduce(in.data(), out.data(), int(n), MPI_FLOAT, MPI_SUM, world.native_handle()); };
    const auto ours = [&] { en::comm::reproducible_all_reduce(world, in, out, en::comm::sum{}, leaves); };
    for (int i = 0; i < 2; ++i) mpi(), ours();
    std::vector<double> theirs_seconds, our_seconds;
    for (int round = 0; round < rounds; ++round) {
      theirs_seconds.push_back(timed(world, calls, mpi));
      our_seconds.push_back(timed(world, calls, ours));
    }
    if (world.rank() != 0) continue;
    const double theirs = median(theirs_seconds), own = median(our_seconds);
    const std::string tail = size_name(bytes) + "_p" + std::to_string(world.size());
    std::printf("value mpi_%s_us %.1f\nvalue reproducible_%s_us %.1f\nratio reproducible_vs_mpi_%s %.3f\n", tail.c_str(), theirs * 1e6, tail.c_str(),
                own * 1e6, tail.c_str(), theirs / own);
    std::fflush(stdout);
  }
}
