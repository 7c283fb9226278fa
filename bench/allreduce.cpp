// SPDX-License-Identifier: Apache-2.0
//
// Collectives between processes on one node: comm::mpi in shared memory against MPI's own calls and gloo
//
//   mpirun -n P allreduce [--quick] [--largest BYTES] [--seconds S]
//
// All contenders run in one process a rank, in turns, so that all see the same machine. One figure is the time from a
// barrier until the last rank has its result, a call (short operands: of several calls one after the other), and the median
// over all turns. fp32. All-reduce is in place for all contenders, as gradients are; the others from one array to another.
//
// "limit": the time in which all ranks at once can copy as many bytes between arrays of their own as the collective must read
// and write (each operand read once, each result written once), measured in the same turns.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/mpi.hpp>
#include <entrain/core/memory.hpp>

#if ENTRAIN_BENCH_WITH_GLOO
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring_chunked.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#endif

namespace en = entrain;
namespace comm = entrain::comm;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::string spelled(std::size_t bytes) {
  return bytes >= 1 << 20 ? std::to_string(bytes >> 20) + "MiB" : std::to_string(bytes >> 10) + "KiB";
}

struct settings {
  std::size_t largest = std::size_t(64) << 20;
  double time_for_one = 1.0;  // seconds for a size of a collective
  bool all_kinds = true;
};

struct contender {
  std::string name;
  std::function<void()> call;
  en::view<float> operand;  // written by its rank before each turn, as a gradient is: it lies in that core's cache
  std::vector<double> times{};
  double first = 0;
};

// gloo's algorithms that take more than ten times as long as its best one, which oversubscribed ranks make of some, are left out from then on:
// the best is what is compared.
std::set<std::string>& given_up() {
  static std::set<std::string> names;
  return names;
}
void give_up_slow(std::vector<contender>& all) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& c : all)
    if (c.name.rfind("gloo", 0) == 0) best = std::min(best, c.first);
  for (const auto& c : all)
    if (c.name.rfind("gloo", 0) == 0 && c.first > 10 * best && c.first > 5e-3) given_up().insert(c.name);
  std::erase_if(all, [](const contender& c) { return given_up().count(c.name) > 0; });
}

// All in turns; afterwards times[i] is the slowest rank's in turn i.
void take_turns(comm::mpi& world, std::vector<contender>& all, std::size_t bytes, double budget) {
  const MPI_Comm plain = world.native_handle();
  const int batch = bytes <= 4096 ? 16 : bytes <= 65536 ? 4 : 1;
  const auto once = [&](contender& c) {
    if (batch > 1) c.call();  // untimed: code and tables are at hand, whoever was before
    std::fill(c.operand.begin(), c.operand.end(), 0.0f);  // stays zero however often it is summed
    MPI_Barrier(plain);
    const double begin = seconds();
    for (int i = 0; i < batch; ++i) c.call();
    const double took = (seconds() - begin) / batch;
    if (c.name.rfind("gloo", 0) == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));  // its thread falls asleep
    return took;
  };
  double round = 0;
  for (int warm = 0; warm < 3; ++warm) {
    round = seconds();
    for (auto& c : all) {
      c.first = once(c);
      MPI_Allreduce(MPI_IN_PLACE, &c.first, 1, MPI_DOUBLE, MPI_MAX, plain);
    }
    round = seconds() - round;
    give_up_slow(all);
  }
  int turns = int(std::clamp(budget / round, 7.0, 400.0));
  MPI_Bcast(&turns, 1, MPI_INT, 0, plain);
  for (int t = 0; t < turns; ++t)
    for (auto& c : all) c.times.push_back(once(c));
  for (auto& c : all) MPI_Allreduce(MPI_IN_PLACE, c.times.data(), turns, MPI_DOUBLE, MPI_MAX, plain);
}

const contender* find(const std::vector<contender>& all, const std::string& name) {
  for (const auto& c : all)
    if (c.name == name) return &c;
  return nullptr;
}

// One row of the table; ratios are printed at the end. moved: bytes that a rank must read and write.
void report(int ranks, const char* kind, std::size_t bytes, double moved, const std::vector<contender>& all, std::vector<std::string>& ratios) {
  const double ours = median(find(all, "ours")->times), copy = median(find(all, "copy")->times);
  std::printf("%-15s %7s", kind, spelled(bytes).c_str());
  double gloo = std::numeric_limits<double>::infinity();
  for (const auto& c : all) {
    const double t = median(c.times);
    std::printf("  %s %.1f", c.name.c_str(), 1e6 * t);
    if (c.name.rfind("gloo", 0) == 0) gloo = std::min(gloo, t);
  }
  const double limit = copy * moved / (2.0 * double(bytes));
  std::printf("  share of the limit %.2f", limit / ours);
  const auto* arena = find(all, "arena");
  if (arena) std::printf(", arena %.2f", limit / median(arena->times));
  std::printf("\n");
  std::fflush(stdout);
  const auto ratio = [&](const std::string& what, double value) {
    ratios.push_back(en::detail::text("ratio ", what, "_", spelled(bytes), "_p", ranks, " ", value));
  };
  const double peer = median(find(all, "MPI")->times);
  ratio(std::string(kind) + "_vs_mpi", peer / ours);
  if (arena) ratio(std::string(kind) + "_arena_vs_mpi", peer / median(arena->times));
  if (gloo < 1e9) ratio(std::string(kind) + "_vs_gloo", gloo / ours);
  ratios.push_back(en::detail::text("value ", kind, "_share_of_limit_", spelled(bytes), "_p", ranks, " ", limit / ours));
}

#if ENTRAIN_BENCH_WITH_GLOO
// gloo over TCP on the loopback device, its ranks brought together by files. Its three algorithms for any or two ranks.
class gloo_world {
 public:
  explicit gloo_world(comm::mpi& world) {
    std::vector<char> folder(64);
    if (world.rank() == 0) {
      std::strcpy(folder.data(), "/tmp/entrain-gloo-XXXXXX");
      if (!mkdtemp(folder.data())) throw en::error("bench allreduce", "no folder for gloo's ranks to meet");
    }
    comm::broadcast(world, folder);
    gloo::transport::tcp::attr where;
    where.iface = "lo";
    auto device = gloo::transport::tcp::CreateDevice(where);
    gloo::rendezvous::FileStore store(folder.data());
    context_ = std::make_shared<gloo::rendezvous::Context>(world.rank(), world.size());
    context_->connectFullMesh(store, device);
    comm::barrier(world);
    if (world.rank() == 0 && std::system((std::string("rm -rf ") + folder.data()).c_str()) != 0) std::fprintf(stderr, "%s stays\n", folder.data());
  }
  void add(std::vector<contender>& all, en::view<float> operand) {
    const auto data = operand.data();
    const auto n = operand.size();
    all.push_back({"gloo ring", [this, data, n] {
      gloo::AllreduceOptions options(context_);
      options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
      options.setOutput(data, n);
      options.setReduceFunction([](void* out, const void* a, const void* b, std::size_t count) { gloo::sum<float>(out, a, b, count); });
      gloo::allreduce(options);
    }, operand});
    const auto chunked = std::make_shared<gloo::AllreduceRingChunked<float>>(context_, std::vector<float*>{data}, int(n));
    all.push_back({"gloo chunked", [chunked] { chunked->run(); }, operand});
    const auto halving = std::make_shared<gloo::AllreduceHalvingDoubling<float>>(context_, std::vector<float*>{data}, int(n));
    all.push_back({"gloo halving", [halving] { halving->run(); }, operand});
  }

 private:
  std::shared_ptr<gloo::rendezvous::Context> context_;
};
#else
struct gloo_world {
  explicit gloo_world(comm::mpi&) {}
  void add(std::vector<contender>&, en::view<float>) {}
};
#endif

using floats = en::buffer<float>;

// Every way gives the sum of what the ranks brought.
void check_sums(comm::mpi& world, std::vector<contender>& all) {
  const float expected = float(world.size() * (world.size() + 1) / 2);
  for (auto& c : all) {
    if (c.name == "copy") continue;
    const auto values = c.operand;
    std::fill(values.begin(), values.end(), float(world.rank() + 1));
    c.call();
    if (std::any_of(values.begin(), values.end(), [&](float x) { return x != expected; }))
      throw en::error("bench allreduce", c.name + " gives a wrong sum", std::to_string(expected), std::to_string(values[0]));
  }
}

void all_reduce(comm::mpi& world, gloo_world& gloo, const settings& s, std::size_t bytes, std::vector<std::string>& ratios) {
  const std::size_t n = bytes / sizeof(float);
  floats own(n), theirs(n), third(n), from(n), to(n);
  auto arena = world.allocate<float>(n);
  std::vector<contender> all{
      {"copy", [&] { std::memcpy(to.data(), from.data(), bytes); }, from},  // first: it suffers least if gloo's thread is still awake
      {"ours", [&] { comm::all_reduce(world, own); }, own},
      {"arena", [&] { comm::all_reduce(world, arena.view()); }, arena},
      {"MPI", [&] { MPI_Allreduce(MPI_IN_PLACE, theirs.data(), int(n), MPI_FLOAT, MPI_SUM, world.native_handle()); }, theirs}};
  gloo.add(all, third);
  give_up_slow(all);
  check_sums(world, all);
  take_turns(world, all, bytes, s.time_for_one);
  if (world.rank() == 0) report(world.size(), "allreduce", bytes, 2.0 * double(bytes), all, ratios);
}

// bytes: of the operand that is the whole.
void others(comm::mpi& world, const settings& s, std::size_t bytes, std::vector<std::string>& ratios) {
  const std::size_t n = bytes / sizeof(float), p = std::size_t(world.size()), part = n / p;
  floats whole(n), piece(part), from(n), to(n);
  auto arena = world.allocate<float>(n);
  const contender copy{"copy", [&] { std::memcpy(to.data(), from.data(), bytes); }, from};
  const auto run = [&](const char* kind, double moved, en::view<float> in, en::view<float> in_there, std::function<void()> ours,
                       std::function<void()> in_arena, std::function<void()> mpi) {
    std::vector<contender> all{{"ours", ours, in}, {"arena", in_arena, in_there}, {"MPI", mpi, in}, copy};
    take_turns(world, all, bytes, s.time_for_one / 2);
    if (world.rank() == 0) report(world.size(), kind, bytes, moved, all, ratios);
  };
  const MPI_Comm plain = world.native_handle();
  run("reduce_scatter", double(bytes) * (1 + 1.0 / double(p)), whole, arena, [&] { comm::reduce_scatter(world, whole, piece); },
      [&] { comm::reduce_scatter(world, arena.view(), piece); },
      [&] { MPI_Reduce_scatter_block(whole.data(), piece.data(), int(part), MPI_FLOAT, MPI_SUM, plain); });
  run("all_gather", double(bytes) * (1 + 1.0 / double(p)), piece, arena.view().subview(0, part), [&] { comm::all_gather(world, piece, whole); },
      [&] { comm::all_gather(world, arena.view().subview(0, part), whole); },
      [&] { MPI_Allgather(piece.data(), int(part), MPI_FLOAT, whole.data(), int(part), MPI_FLOAT, plain); });
  const std::size_t sent = world.rank() == 0 ? n : 0;
  run("broadcast", double(bytes), whole.subview(0, sent), arena.view().subview(0, sent), [&] { comm::broadcast(world, whole, 0); }, [&] { comm::broadcast(world, arena.view(), 0); },
      [&] { MPI_Bcast(whole.data(), int(n), MPI_FLOAT, 0, plain); });
}

}  // namespace

int main(int argc, char** argv) {
  comm::mpi world{argc, argv};
  settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--quick") s.time_for_one = 0.2, s.all_kinds = false;
    else if (word == "--largest" && i + 1 < argc) s.largest = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--seconds" && i + 1 < argc) s.time_for_one = std::strtod(argv[++i], nullptr);
    else throw en::usage_error("bench allreduce", "an argument that is not known", "--quick, --largest BYTES, --seconds S", word);
  }
  gloo_world gloo(world);
  std::vector<std::string> ratios;
  if (world.rank() == 0) std::printf("%d ranks, %s; medians in microseconds\n", world.size(), std::string(world.native_name(comm::collective::all_reduce, 0)).c_str());
  for (std::size_t bytes = 1024; bytes <= s.largest; bytes *= 4) all_reduce(world, gloo, s, bytes, ratios);
  for (std::size_t bytes = 1024; bytes <= s.largest && s.all_kinds; bytes *= 4) others(world, s, bytes, ratios);
  if (world.rank() == 0)
    for (const auto& line : ratios) std::printf("%s\n", line.c_str());
}
