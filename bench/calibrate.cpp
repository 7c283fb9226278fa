// SPDX-License-Identifier: Apache-2.0
//
// Measures what messages cost here, per communicator, algorithm and number of ranks, and writes the profile that chooses algorithms
//
//   calibrate measure threads RANKS [--check] [--quick]        times, a line each, to standard output
//   mpirun -n RANKS calibrate measure mpi [--check] [--quick]
//   calibrate fit --out PROFILE [--check] [--doubtful LIST] TIMES...     the profile; with --check how well it predicts and chooses
//                                                              --pictures FOLDER: which all-reduce wins where, as SVG
//   ... measure ... --again LIST                               only the calls of the list, for longer: replaces times of earlier files
//
// bench/calibrate.sh does all of it. A time is the lower quartile over repetitions of the slowest rank's; all ways of a collective take
// turns. Sizes of the ladder are fitted; what lies far from the fit is measured again, for longer. --check measures
// the sizes between as well, which the fit does not see, and again where the choice was not the fastest: of many times the shortest is often
// only the luckiest.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include <entrain/comm/algorithms/table.hpp>
#include <entrain/comm/cost_model.hpp>
#include <entrain/comm/cost_model/fit.hpp>
#include <entrain/comm/detail/build.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/selection.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/monitor/svg.hpp>
#if ENTRAIN_WITH_MPI
#include <entrain/comm/mpi.hpp>
#endif

namespace en = entrain;
namespace comm = entrain::comm;
using comm::collective;

namespace {

constexpr std::array<std::uint64_t, 8> ranges{0, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr std::array<std::size_t, 8> sizes_for_gamma{512, 2048, 8192, 32768, 131072, 524288, 2 << 20, 8 << 20};  // one a range
constexpr std::size_t largest = std::size_t(16) << 20;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at = values.begin() + std::ptrdiff_t(q * double(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}
double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }
// Of repeated times: other programs on the machine only ever add to them.
double typical(std::vector<double> times) { return quantile(std::move(times), 0.25); }

bool is_rooted(collective kind) {
  return kind == collective::broadcast || kind == collective::reduce || kind == collective::gather || kind == collective::scatter;
}
bool is_reduction(collective kind) { return kind == collective::reduce || kind == collective::all_reduce || kind == collective::reduce_scatter; }
bool has_whole_operand(collective kind) { return kind == collective::broadcast || kind == collective::reduce || kind == collective::all_reduce; }

// One measured time, and a line of the files between the two halves of this program.
struct timing {
  std::string communicator, algorithm;
  bool native = false, held_out = false;
  collective kind = collective::barrier;
  int ranks = 1;
  std::size_t count = 0;
  double seconds = 0;

  std::string line() const {
    char text[256];
    std::snprintf(text, sizeof text, "time\t%s\t%s\t%d\t%d\t%d\t%d\t%zu\t%.9g\n", communicator.c_str(), algorithm.c_str(), int(native), int(held_out), int(kind), ranks, count, seconds);
    return text;
  }
};

// ---- measuring ------------------------------------------------------------------------------------------------------------------

struct settings {
  bool check = false, quick = false;
  const std::set<std::pair<int, std::size_t>>* again = nullptr;  // only these collectives and counts
};

// Bytes of the operands: the ladder, and the sizes between that the fit does not see.
struct size {
  std::size_t bytes;
  bool held_out;
};
std::vector<size> sizes(const settings& how) {
  std::vector<size> all;
  for (std::size_t bytes = 16; bytes <= largest; bytes *= 4) {
    all.push_back({bytes, false});
    if (how.check && bytes >= 64 && bytes < largest) all.push_back({bytes * 2, true});
  }
  return all;
}

void add_floats(const void* a, const void* b, void* to, std::size_t n) { comm::schedule::combine_elements<float, comm::sum>(a, b, to, n); }

template <class C>
class measurement {
 public:
  measurement(C& world, const settings& how) : world_(world), messages_(world), how_(how), in_(largest / 4 + 64, 1.f), out_(largest / 4 + 64, 1.f) {}

  // `other`: the same ranks with other native collectives, or null.
  void run(C* other) {
    if (!how_.again) print_gamma();
    for (int k = 0; k < comm::collective_kinds; ++k) {
      for (const size s : sizes(how_)) {
        measure(collective(k), s, other);
        if (collective(k) == collective::barrier) break;
      }
      if (world_.rank() == 0) std::fflush(stdout);
    }
  }

 private:
  struct way {
    timing what;
    std::function<void()> call;
    std::size_t batch = 1;
    std::vector<double> times;
  };

  void barrier() { world_.start_barrier().wait(); }

  comm::problem problem_of(collective kind, std::size_t bytes) {
    comm::problem c{.kind = kind, .rank = world_.rank(), .size = world_.size(), .width = 4, .ranks_per_node = comm::ranks_per_node_of(world_)};
    if (kind != collective::barrier) c.count = std::max<std::size_t>(1, bytes / 4 / (has_whole_operand(kind) ? 1 : std::size_t(c.size)));
    counts_.assign(std::size_t(c.size), c.count);
    if (kind == collective::all_gather_v || kind == collective::all_to_all_v) c.counts = counts_;
    if (kind == collective::all_to_all_v) c.receive_counts = counts_;
    return c;
  }

  // All ranks the same figures: of the slowest.
  void slowest(std::vector<double>& values) {
    const en::view<double> all(values.data(), values.size());
    world_.start_all_reduce(en::view<const double>(all), all, comm::maximum{}).wait();
  }

  void built(const comm::algorithm& how, const comm::problem& c) {
    comm::detail::start_built<float, comm::sum>(messages_, how, c, in_.data(), out_.data()).wait();
  }
  void native(C& c, const comm::problem& p) {
    const std::size_t n = p.count, whole = n * std::size_t(p.size);
    const auto in = [&](std::size_t size) { return en::view<const float>(in_.data(), size); };
    const auto out = [&](std::size_t size) { return en::view<float>(out_.data(), size); };
    switch (p.kind) {
      case collective::barrier: return c.start_barrier().wait();
      case collective::broadcast: return c.start_broadcast(out(n), 0).wait();
      case collective::reduce: return c.start_reduce(in(n), out(n), comm::sum{}, 0).wait();
      case collective::all_reduce: return c.start_all_reduce(in(n), out(n), comm::sum{}).wait();
      case collective::reduce_scatter: return c.start_reduce_scatter(in(whole), out(n), comm::sum{}).wait();
      case collective::all_gather: return c.start_all_gather(in(n), out(whole)).wait();
      case collective::all_gather_v: return c.start_all_gather_v(in(n), out(whole), p.counts).wait();
      case collective::gather: return c.start_gather(in(n), out(whole), 0).wait();
      case collective::scatter: return c.start_scatter(in(whole), out(n), 0).wait();
      case collective::all_to_all: return c.start_all_to_all(in(whole), out(whole)).wait();
      case collective::all_to_all_v: return c.start_all_to_all_v(in(whole), p.counts, out(whole), p.receive_counts).wait();
    }
  }

  void add_native(std::vector<way>& ways, C& c, const comm::problem& p, timing what) {
    what.algorithm = comm::native_name_of(c, p.kind, p.count * p.width);
    what.native = true;
    for (const way& w : ways)
      if (w.what.algorithm == what.algorithm) return;
    ways.push_back({what, [this, &c, p] { native(c, p); }, 1, {}});
  }

  // Rooted collectives are done on some ranks long before others, and the next would overlap: there a barrier, whose own time
  // is measured as one more way, follows each.
  void measure(collective kind, const size& s, C* other) {
    const comm::problem c = problem_of(kind, s.bytes);
    if (how_.again && !how_.again->contains({int(kind), c.count})) return;
    timing what{std::string(comm::cost_name_of(world_)), "", false, s.held_out, kind, c.size, c.count, 0};
    std::vector<way> ways;
    add_native(ways, world_, c, what);
    if (other) add_native(ways, *other, c, what);
    for (const comm::algorithm* a : comm::algorithms_of(kind))
      if (comm::fits(*a, c, true)) {
        what.algorithm = a->name;
        ways.push_back({what, [this, a, c] { built(*a, c); }, 1, {}});
      }
    const bool rooted = is_rooted(kind);
    if (rooted) {
      for (way& w : ways) w.call = [this, call = w.call] { call(), barrier(); };
      ways.push_back({what, [this] { barrier(); }, 1, {}});
    }
    take_turns(ways);
    const double waiting = rooted ? typical(ways.back().times) : 0;
    for (way& w : ways) {
      if (rooted && &w == &ways.back()) break;
      const double t = typical(w.times);
      w.what.seconds = std::max(t - waiting, 0.1 * t);
      if (world_.rank() == 0) std::fputs(w.what.line().c_str(), stdout);
    }
  }

  void take_turns(std::vector<way>& ways) {
    const double batch_seconds = how_.quick ? 2e-4 : 4e-4, way_seconds = (how_.quick ? 4e-3 : 12e-3) * (how_.again ? 5 : 1);
    const std::size_t fewest = how_.again ? 9 : 3, most = how_.quick ? 7 : how_.again ? 75 : 25;
    std::vector<double> once;
    for (way& w : ways) {
      w.call();
      once.push_back(time_of(w, 2));
    }
    slowest(once);
    std::size_t rounds = fewest;
    for (std::size_t i = 0; i < ways.size(); ++i) {
      ways[i].batch = std::size_t(std::clamp(batch_seconds / std::max(once[i], 1e-9), 1.0, 2000.0));
      rounds = std::max(rounds, std::min(std::size_t(way_seconds / std::max(once[i] * double(ways[i].batch), batch_seconds)), most));
    }
    for (std::size_t round = 0; round < rounds; ++round)
      for (way& w : ways)
        if (round < fewest || double(round) * double(w.batch) * once[std::size_t(&w - ways.data())] < way_seconds) w.times.push_back(time_of(w, w.batch));
    for (way& w : ways) slowest(w.times);
  }
  double time_of(way& w, std::size_t times) {
    barrier();
    const double start = seconds();
    for (std::size_t i = 0; i < times; ++i) w.call();
    return (seconds() - start) / double(times);
  }

  // The loop that combines, on all ranks at once.
  void print_gamma() {
    for (const std::size_t bytes : sizes_for_gamma) {
      std::vector<double> times;
      const std::size_t repeat = std::max<std::size_t>(1, (std::size_t(1) << 20) / bytes);
      for (int round = 0; round < 9; ++round) {
        barrier();
        const double start = seconds();
        for (std::size_t i = 0; i < repeat; ++i) add_floats(in_.data(), out_.data(), out_.data(), bytes / 4);
        times.push_back((seconds() - start) / double(repeat * bytes));
      }
      slowest(times);
      if (world_.rank() == 0) std::printf("gamma\t%s\t%d\t%.9g\n", std::string(comm::cost_name_of(world_)).c_str(), world_.size(), typical(times));
    }
  }

  C& world_;
  comm::point_to_point_only<C> messages_;
  settings how_;
  std::vector<float> in_, out_;
  std::vector<std::size_t> counts_;
};

// The calls of a list that are this communicator's.
std::set<std::pair<int, std::size_t>> calls_of(const char* path, const std::string& communicator, int ranks) {
  std::set<std::pair<int, std::size_t>> result;
  std::ifstream file(path);
  std::string name;
  for (int p = 0, kind = 0; file >> name >> p >> kind;)
    if (std::size_t count = 0; file >> count)
      if (name == communicator && p == ranks) result.insert({kind, count});
  return result;
}

int measure(int argc, char** argv) {
  settings how;
  const char* list = nullptr;
  std::set<std::pair<int, std::size_t>> again;
  for (int i = 3; i < argc; ++i) {
    how.check |= !std::strcmp(argv[i], "--check"), how.quick |= !std::strcmp(argv[i], "--quick");
    if (!std::strcmp(argv[i], "--again") && i + 1 < argc) list = argv[++i], how.again = &again, how.check = true;
  }
  if (argc > 3 && !std::strcmp(argv[2], "threads")) {
    const int ranks = std::atoi(argv[3]);
    if (list) again = calls_of(list, "threads", ranks);
    comm::run_ranks(ranks, [&](comm::threads& world) { measurement<comm::threads>(world, how).run(nullptr); });
    return 0;
  }
#if ENTRAIN_WITH_MPI
  if (argc > 2 && !std::strcmp(argv[2], "mpi")) {
    comm::mpi world{argc, argv};
    if (list) again = calls_of(list, std::string(comm::cost_name_of(world)), world.size());
    comm::mpi plain{MPI_COMM_WORLD, comm::mpi_options{.shared_memory = false}};
    measurement<comm::mpi>(world, how).run(&plain);
    return 0;
  }
#endif
  std::fprintf(stderr, "calibrate: there is no such communicator here\n");
  return 2;
}

// ---- fitting --------------------------------------------------------------------------------------------------------------------

struct times_read {
  std::vector<timing> all;
  std::map<std::pair<std::string, int>, std::vector<double>> gammas;  // per communicator and ranks, a range each
};

void read_times(const std::string& path, times_read& to) {
  std::ifstream file(path);
  if (!file) throw en::file_error(path, "cannot be read", "times of calibrate measure", "none");
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> part;
    std::stringstream in(line);
    for (std::string field; std::getline(in, field, '\t');) part.push_back(field);
    if (part.size() == 4 && part[0] == "gamma") to.gammas[{part[1], std::stoi(part[2])}].push_back(std::stod(part[3]));
    else if (part.size() == 9 && part[0] == "time") {
      const timing t{part[1], part[2], part[3] == "1", part[4] == "1", collective(std::stoi(part[5])), std::stoi(part[6]), std::size_t(std::stoull(part[7])), std::stod(part[8])};
      const auto same = std::find_if(to.all.begin(), to.all.end(), [&](const timing& o) {
        return std::tie(o.communicator, o.algorithm, o.kind, o.ranks, o.count) == std::tie(t.communicator, t.algorithm, t.kind, t.ranks, t.count);
      });
      if (same == to.all.end()) to.all.push_back(t);
      else same->seconds = t.seconds;
    }
  }
}

// The call that was timed, as rank 0 sees it.
struct timed_problem {
  std::vector<std::size_t> counts;
  comm::problem what;
  explicit timed_problem(const timing& t) : counts(std::size_t(t.ranks), t.count) {
    what = {.kind = t.kind, .size = t.ranks, .count = t.count, .width = 4};
    if (t.kind == collective::all_gather_v || t.kind == collective::all_to_all_v) what.counts = counts;
    if (t.kind == collective::all_to_all_v) what.receive_counts = counts;
  }
};
const comm::algorithm* find_algorithm(const timing& t) {
  for (const comm::algorithm* a : comm::algorithms_of(t.kind))
    if (!t.native && a->name == t.algorithm) return a;
  return nullptr;
}

comm::timed_call call_of(const timing& t) {
  const timed_problem p(t);
  const comm::algorithm* a = find_algorithm(t);
  return {comm::operand_bytes(p.what), 4, a ? a->predict(p.what) : comm::native_cost(p.what), t.seconds};
}

// An entry for each (communicator, collective, algorithm, ranks), and one for all that a communicator does natively and otherwise.
comm::profile fit(const times_read& times) {
  std::map<std::tuple<std::string, std::string, std::string, int>, std::pair<std::vector<comm::timed_call>, std::vector<double>>> groups;
  for (const timing& t : times.all) {
    if (t.held_out) continue;
    const auto& gamma = times.gammas.at({t.communicator, t.ranks});
    const std::string any = t.native ? t.algorithm == "shared memory" ? t.algorithm : "native" : "*";
    const bool reduces = is_reduction(t.kind);
    for (const auto& key : {std::tuple(t.communicator, std::string(comm::name_of(t.kind)), t.algorithm, t.ranks), std::tuple(t.communicator, std::string("*"), any, 0)}) {
      auto& group = groups[key];
      group.first.push_back(call_of(t));
      if (reduces || group.second.empty()) group.second = reduces ? gamma : std::vector<double>(ranges.size(), 0.0);
    }
  }
  std::vector<comm::cost_entry> entries;
  for (const auto& [key, group] : groups) {
    const auto& [communicator, kind, algorithm, ranks] = key;
    entries.push_back({communicator, kind, algorithm, ranks, comm::fit_ranges(group.first, ranges, group.second)});
  }
  return comm::profile(std::move(entries), "calibrate");
}

void print_table(const comm::profile& costs) {
  std::printf("%-10s %-15s %-26s %5s   alpha [us], beta, gamma [ns/KiB] from 0, 4 KiB, 64 KiB, 1 MiB\n", "", "", "", "ranks");
  for (const auto& e : costs.entries()) {
    std::printf("%-10s %-15s %-26s %5d  ", e.communicator.c_str(), e.collective.c_str(), e.algorithm.c_str(), e.ranks);
    for (std::size_t i = 0; i < e.ranges.size(); i += 2)
      std::printf("  %7.2f %6.1f %6.1f", e.ranges[i].cost.alpha * 1e6, e.ranges[i].cost.beta * 1024e9, e.ranges[i].cost.gamma * 1024e9);
    std::printf("\n");
  }
}

// ---- checking -------------------------------------------------------------------------------------------------------------------

double predicted(const comm::profile& costs, const timing& t) {
  const timed_problem p(t);
  const comm::algorithm* a = find_algorithm(t);
  return a ? comm::predicted_seconds(costs, t.communicator, *a, p.what).seconds : comm::predicted_native_seconds(costs, t.communicator, t.algorithm, p.what).seconds;
}

void check_predictions(const comm::profile& costs, const times_read& times) {
  std::map<int, std::vector<double>> by_ranks;
  std::map<std::tuple<int, std::string, std::string, std::string>, std::vector<double>> by_algorithm;
  for (const timing& t : times.all) {
    if (!t.held_out) continue;
    const double error = std::fabs(predicted(costs, t) / t.seconds - 1);
    by_ranks[t.ranks].push_back(error);
    by_algorithm[{t.ranks, t.communicator, std::string(comm::name_of(t.kind)), t.algorithm}].push_back(error);
  }
  std::printf("\nrelative error of predictions at sizes that the fit has not seen: median, largest\n");
  for (const auto& [key, errors] : by_algorithm) {
    const auto& [ranks, communicator, kind, algorithm] = key;
    std::printf("  p = %d  %-10s %-15s %-26s %6.1f %% %6.1f %%\n", ranks, communicator.c_str(), kind.c_str(), algorithm.c_str(), 100 * median(errors), 100 * quantile(errors, 1));
  }
  for (const auto& [ranks, errors] : by_ranks) {
    std::printf("value prediction_error_median_p%d %.4f\n", ranks, median(errors));
    std::printf("value prediction_error_p90_p%d %.4f\n", ranks, quantile(errors, 0.9));
  }
}

// What is lost by going by the profile instead of by the fastest measured time.
// A call's line in the list of those to be measured again.
std::string list_line(const timing& t) {
  return t.communicator + " " + std::to_string(t.ranks) + " " + std::to_string(int(t.kind)) + " " + std::to_string(t.count) + "\n";
}

void check_selection(const comm::profile& costs, const times_read& times, std::set<std::string>& again) {
  std::map<std::tuple<std::string, int, collective, std::size_t>, std::vector<const timing*>> calls;
  for (const timing& t : times.all)
    if (t.held_out) calls[{t.communicator, t.ranks, t.kind, t.count}].push_back(&t);
  std::vector<double> with_native, built_only;
  const auto add = [&](const std::vector<const timing*>& all, const std::string& native, std::vector<double>& losses) {
    const timed_problem p(*all[0]);
    const comm::choice chosen = comm::choose(all[0]->communicator, std::string_view(native), p.what, true, costs);
    double best = 0, ours = 0;
    for (const timing* t : all) {
      if (t->native && t->algorithm != native) continue;
      if (best == 0 || t->seconds < best) best = t->seconds;
      if (find_algorithm(*t) == chosen.built) ours = t->seconds;
    }
    if (ours <= 0) return;
    losses.push_back(ours / best - 1);
    if (ours / best > 1.05) again.insert(list_line(*all[0]));
    if (ours / best > 1.1)
      std::printf("  %-10s p = %d  %-15s %8.0f KiB%s: %s %.1f us, but the best %.1f us\n", all[0]->communicator.c_str(), all[0]->ranks, std::string(comm::name_of(all[0]->kind)).c_str(),
                  double(comm::operand_bytes(p.what)) / 1024, native.empty() ? "" : " with native", chosen.built ? std::string(chosen.built->name).c_str() : native.c_str(), ours * 1e6, best * 1e6);
  };
  std::printf("\nchoices that lose more than a tenth\n");
  for (const auto& [key, all] : calls) {
    if (std::any_of(all.begin(), all.end(), [](const timing* t) { return !t->native; })) add(all, "", built_only);
    for (const timing* t : all)
      if (t->native) add(all, t->algorithm, with_native);
  }
  std::printf("value selection_loss_median %.4f\nvalue selection_loss_p90 %.4f\nvalue selection_loss_max %.4f\n", median(with_native), quantile(with_native, 0.9), quantile(with_native, 1));
  std::printf("value selection_loss_built_median %.4f\nvalue selection_loss_built_p90 %.4f\nvalue selection_loss_built_max %.4f\n", median(built_only), quantile(built_only, 0.9),
              quantile(built_only, 1));
}

// Which all-reduce wins where: measured here, and predicted for many ranks that are equally far from each other.
void draw(const times_read& times, const std::string& folder) {
  namespace svg = en::monitor::svg;
  std::map<std::pair<std::string, int>, std::map<std::string, std::map<double, double>>> measured;
  for (const timing& t : times.all)
    if (t.kind == collective::all_reduce && t.count > 0) measured[{t.communicator, t.ranks}][t.algorithm][double(t.count) * 4] = t.seconds * 1e6;
  for (const auto& [key, lines] : measured) {
    svg::line_chart chart{.title = "All-reduce, " + std::to_string(key.second) + " ranks on comm::" + key.first, .x_label = "bytes", .y_label = "microseconds", .log_x = true, .log_y = true};
    for (const auto& [algorithm, points] : lines) {
      std::vector<double> xs, ys;
      for (const auto& [x, y] : points) xs.push_back(x), ys.push_back(y);
      chart.add(algorithm, xs, ys);
    }
    chart.write_svg(folder + "/all_reduce_" + key.first + "_" + std::to_string(key.second) + ".svg");
  }
  svg::line_chart chart{.title = "All-reduce, 96 ranks, 1 us and 10 GB/s (predicted)", .x_label = "bytes", .y_label = "microseconds", .log_x = true, .log_y = true};
  for (const comm::algorithm* a : comm::algorithms_of(collective::all_reduce)) {
    std::vector<double> xs, ys;
    for (std::size_t count = 64; count <= (std::size_t(64) << 20); count *= 2) {
      const comm::cost k = a->predict({.kind = collective::all_reduce, .size = 96, .count = count, .width = 4, .ranks_per_node = 8});
      xs.push_back(double(count) * 4), ys.push_back(k.alphas + 4 * k.betas / 1e4);  // microseconds: 1 each, 1e-4 a byte
    }
    chart.add(std::string(a->name), xs, ys);
  }
  chart.write_svg(folder + "/all_reduce_96_ranks.svg");
}

int fit(int argc, char** argv) {
  std::string out = "cost_profile.json", doubtful, pictures;
  bool check = false;
  times_read times;
  for (int i = 2; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--check")) check = true;
    else if (!std::strcmp(argv[i], "--out") && i + 1 < argc) out = argv[++i];
    else if (!std::strcmp(argv[i], "--doubtful") && i + 1 < argc) doubtful = argv[++i];
    else if (!std::strcmp(argv[i], "--pictures") && i + 1 < argc) pictures = argv[++i];
    else read_times(argv[i], times);
  }
  const comm::profile costs = fit(times);
  comm::write_profile(costs, out);
  const comm::profile read = comm::read_profile(out);
  print_table(read);
  std::set<std::string> again;  // what no smooth line goes through was disturbed
  for (const timing& t : times.all)
    if (!t.held_out && std::fabs(predicted(read, t) / t.seconds - 1) > 0.25) again.insert(list_line(t));
  if (check) check_predictions(read, times), check_selection(read, times, again);
  if (!pictures.empty()) draw(times, pictures);
  if (!doubtful.empty()) {
    std::ofstream file(doubtful);
    for (const auto& line : again) file << line;
  }
  std::printf("\nwritten to %s; to use it: export ENTRAIN_PROFILE=%s\n", out.c_str(), out.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1 && !std::strcmp(argv[1], "measure")) return measure(argc, argv);
  if (argc > 1 && !std::strcmp(argv[1], "fit")) return fit(argc, argv);
  std::fprintf(stderr, "calibrate measure threads RANKS | measure mpi | fit --out PROFILE TIMES...; see bench/calibrate.sh\n");
  return 2;
} catch (const std::exception& e) {
  std::fprintf(stderr, "calibrate: %s\n", e.what());
  return 1;
}
