// SPDX-License-Identifier: Apache-2.0

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/messages.hpp>
#include <entrain/comm/mpi.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/watched.hpp>
#include <entrain/comm/watched/trace.hpp>

// Jobs in which one rank errs, in 50 ways; test_watched.sh looks at how they end.
//
//   program_watched expect N        prints the number of ranks, a tab, and what the message must match
//   program_watched run N           fails in the N-th way, with a deadline of 1 s
//   program_watched soak SECONDS    works without a failure: nothing may be said
//   program_watched trace FILE      writes a trace of a short run

using namespace entrain;
using namespace std::chrono_literals;

namespace {

enum class way { operation, count, type, root, reduction, order, sleep, spin, stop, kill, quit, exit_code, swallow, leave, skip, tag, peer, size };
constexpr int ways = 18;
constexpr const char* names[] = {"operation", "count", "type", "root", "reduction", "order", "sleep", "spin", "stop",
                                 "kill", "quit", "exit_code", "swallow", "leave", "skip", "tag", "peer", "size"};

struct scenario {
  way how;
  int ranks, guilty;
  int moment;  // 0: the first collective, 1: after some, 2: while a collective of a sub-group is in flight
  bool built;  // collectives built from messages
};
scenario scenario_of(int n) {
  scenario s{};
  s.how = way(n % ways), s.moment = n / ways % 3;
  s.ranks = 2 + (n + n / ways) % 3;
  if ((s.how == way::peer || s.how == way::root) && s.ranks == 2) s.ranks = 3;
  s.guilty = (n / 2 + s.moment) % s.ranks;
  s.built = n % 7 == 3;
  return s;
}

std::string expected(const scenario& s) {
  const std::string rank = "rank " + std::to_string(s.guilty), other = "rank " + std::to_string((s.guilty + 1) % s.ranks);
  // Of two ranks that differ nobody can say which is wrong: both are named.
  const std::string named = s.ranks == 2 ? "watched.*(called.*where|where.*called)" : rank + " called ";
  // Nor while only one other rank has called: its call is named first then, as among two.
  const auto undecided = [&](const std::string& wrong) { return "|rank [0-9] called .* where " + rank + " called " + wrong; };
  switch (s.how) {
    case way::operation: return s.ranks == 2 ? "(broadcast of 7 f32 with root 0|all_reduce of 7 f32).*where.*(all_reduce of 7|broadcast of 7)" : named + "broadcast of 7 f32 with root 0 where" + undecided("broadcast of 7 f32 with root 0");
    case way::count: return s.ranks == 2 ? "called all_reduce of [57] f32.*where rank . called all_reduce of [57] f32" : named + "all_reduce of 5 f32.*called all_reduce of 7 f32" + undecided("all_reduce of 5 f32");
    case way::type: return s.ranks == 2 ? "called all_reduce of 7 (f64|f32).*called all_reduce of 7 (f64|f32)" : named + "all_reduce of 7 f64.*called all_reduce of 7 f32" + undecided("all_reduce of 7 f64");
    case way::root: return named + "broadcast of 7 f32 with root 2 where .*with root 1" + undecided("broadcast of 7 f32 with root 2");
    case way::reduction: return s.ranks == 2 ? "called all_reduce.*(maximum|sum).*called.*(sum|maximum)" : named + "all_reduce of 7 f32 .maximum.*where.*sum" + undecided("all_reduce of 7 f32 .maximum");
    case way::order: return s.ranks == 2 ? "called (all_gather|barrier).*where.*called (barrier|all_gather)" : named + "barrier where .*called all_gather" + undecided("barrier");
    case way::sleep: return rank + " is missing: it has stalled: it sleeps";
    case way::spin: return rank + " is missing: it has stalled: it computes";
    case way::stop: return rank + " is missing: it (has been stopped|has fallen silent)";
    case way::kill: return rank + " is missing: it has died|process rank " + std::to_string(s.guilty) + " .*exited on signal 9";
    case way::quit: return rank + " is missing: it has died|process rank " + std::to_string(s.guilty) + " .*exiting improperly";
    case way::exit_code: return rank + " is missing: it (has died|has left)|[Pp]rocess.* rank " + std::to_string(s.guilty) + "|rank " + std::to_string(s.guilty) + " of";
    case way::swallow: return rank + " is missing: it (has left|was left by an exception)|rank " + std::to_string(s.guilty) + " of .*: communication has failed|" + rank + " of the job has failed";
    case way::leave: return rank + " is missing: it has left";
    case way::skip: return s.ranks == 2 ? "called (all_gather|barrier).*where.*called (barrier|all_gather)" : rank + " called barrier where .*called all_gather" + undecided("barrier");
    case way::tag: return rank + "'s send of 7 f32 to " + other + " with tag 4|has not begun to send for " + other + "'s receive of 7 f32 from " + rank + " with tag 3";
    case way::peer: return rank + "'s send of 7 f32 to rank " + std::to_string((s.guilty + 2) % s.ranks) + " with tag 3";
    case way::size: return rank + " called send of 9 f32 to " + other + " with tag 3 where " + other + " called receive of 7 f32";
  }
  return "";
}

template <class C>
void work(C& w, int times) {
  std::vector<float> a(64), all(64 * std::size_t(w.size()));
  for (int i = 0; i < times; ++i) {
    comm::all_reduce(w, a);
    comm::all_gather(w, a, all);
    comm::broadcast(w, a, i % w.size());
    comm::barrier(w);
  }
}

void compute(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

struct trouble : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Everything up to the end of the job: what follows the failure keeps the others busy, so that it is seen in any case.
template <class C>
void fail(C& w, const scenario& s) {
  const bool guilty = w.rank() == s.guilty;
  std::vector<float> a(7, 1), b(5), c(9), all(7 * std::size_t(w.size()));
  std::vector<double> d(7);
  const int next = (w.rank() + 1) % w.size(), before = (w.rank() + w.size() - 1) % w.size();
  if (s.moment > 0) work(w, 5);
  auto part = w.split(s.moment == 2 ? 0 : w.rank() % 2, -w.rank());
  std::vector<float> pending(1000, 1);
  auto in_flight = comm::start_all_reduce(part, pending);
  if (s.moment != 2) in_flight.wait();
  switch (s.how) {
    case way::operation: guilty ? comm::broadcast(w, a, 0) : comm::all_reduce(w, a); break;
    case way::count: comm::all_reduce(w, guilty ? b : a); break;
    case way::type: guilty ? comm::all_reduce(w, d) : comm::all_reduce(w, a); break;
    case way::root: comm::broadcast(w, a, guilty ? 2 : 1); break;
    case way::reduction: guilty ? comm::all_reduce(w, a, comm::maximum{}) : comm::all_reduce(w, a); break;
    case way::order:
      if (guilty) comm::barrier(w);
      comm::all_gather(w, a, all);
      if (!guilty) comm::barrier(w);
      break;
    case way::sleep:
      if (guilty) std::this_thread::sleep_for(60s);
      break;
    case way::spin:
      if (guilty) compute(60s);
      break;
    case way::stop:
      if (guilty) ::raise(SIGSTOP);
      break;
    case way::kill:
      if (guilty) ::raise(SIGKILL);
      break;
    case way::quit:
      if (guilty) ::_exit(0);
      break;
    case way::exit_code:
      if (guilty) std::exit(3);
      break;
    case way::swallow:
      if (guilty) throw trouble("swallowed");
      break;
    case way::leave:
      if (guilty) return;
      break;
    case way::skip:
      if (!guilty) comm::all_gather(w, a, all);
      comm::barrier(w);
      break;
    case way::tag:
      if (guilty) comm::send(w, a, next, 4);
      else if (before == s.guilty) comm::receive(w, a, before, 3);
      break;
    case way::peer:
      if (guilty) comm::send(w, a, (w.rank() + 2) % w.size(), 3);
      else if (before == s.guilty) comm::receive(w, a, before, 3);
      break;
    case way::size:
      if (guilty) comm::send(w, c, next, 3);
      else if (before == s.guilty) comm::receive(w, a, before, 3);
      break;
  }
  in_flight.wait();
  work(w, 5);
  std::this_thread::sleep_for(500ms);
}

int fail(comm::mpi& world, int n) {
  const auto s = scenario_of(n);
  // ENTRAIN_WATCHED_NODES: so many ranks count as one node.
  const char* per_node = std::getenv("ENTRAIN_WATCHED_NODES");
  const comm::watched_options options{
      .deadline = 1s, .dump_directory = "", .node = per_node ? "node" + std::to_string(world.rank() / std::atoi(per_node)) : ""};
  try {
    if (s.built) {
      comm::point_to_point_only<comm::mpi> messages{world};
      comm::watched<comm::point_to_point_only<comm::mpi>> w{messages, options};
      fail(w, s);
    } else {
      comm::watched<comm::mpi> w{world, options};
      fail(w, s);
    }
  } catch (const trouble&) {
  }
  return 0;
}

// Random work of random length; every rank draws the same collectives and its own pauses.
int soak(comm::mpi& world, double seconds) {
  comm::watched<comm::mpi> w{world, {.deadline = 2s}};
  auto part = w.split(w.rank() % 2, 0);
  std::mt19937 common(7), own(unsigned(100 + w.rank()));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::vector<float> a(1 << 18), b(1 << 18);
  std::uint64_t rounds = 0;
  while (comm::all_reduce_value(w, std::chrono::steady_clock::now() < end ? 1 : 0, comm::minimum{}) == 1) {
    ++rounds;
    const auto n = std::size_t(1) << common() % 18;
    const view<float> some(a.data(), n), other(b.data(), n);
    const auto kind = common() % 7;
    auto& c = common() % 4 == 0 ? part : w;
    auto early = kind == 6 ? comm::start_all_reduce(c, other) : decltype(comm::start_all_reduce(c, other)){};
    const auto pause = own() % 1000;  // mostly short, one in a thousand nearly as long as the deadline allows
    if (pause == 0) std::this_thread::sleep_for(1200ms);
    else if (pause < 100) std::this_thread::sleep_for(std::chrono::microseconds(own() % 20000));
    else compute(std::chrono::microseconds(own() % 100));
    if (kind == 0) comm::barrier(c);
    if (kind == 1) comm::broadcast(c, some, int(common()) % 1);
    if (kind == 2) comm::reduce(c, some, other, comm::sum{}, 0);
    if (kind == 3 || kind == 6) comm::all_reduce(c, some);
    if (kind == 4) comm::send_receive(w, some, (w.rank() + 1) % w.size(), other, (w.rank() + w.size() - 1) % w.size(), int(n % 100));
    if (kind == 5) w.split(int(rounds % 2), w.rank());
    early.wait();
  }
  if (w.rank() == 0) std::printf("%llu rounds of work in %g s, nobody was blamed\n", static_cast<unsigned long long>(rounds), seconds);
  return 0;
}

int trace(comm::mpi& world, const std::string& path) {
  comm::watched<comm::mpi> w{world};
  std::vector<float> a(1000);
  for (int i = 0; i < 20; ++i) {
    comm::all_reduce(w, a);
    std::this_thread::sleep_for(std::chrono::milliseconds(w.rank()));
    comm::barrier(w);
    comm::send_receive(w, a, (w.rank() + 1) % w.size(), std::vector<float>(1000), (w.rank() + w.size() - 1) % w.size(), 1);
  }
  comm::write_trace(w, path);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "expect") {
    const auto s = scenario_of(std::atoi(argv[2]));
    std::printf("%d\t%s\t%s\n", s.ranks, names[int(s.how)], expected(s).c_str());
    return 0;
  }
  comm::mpi world{argc, argv};
  if (mode == "run") return fail(world, std::atoi(argv[2]));
  if (mode == "soak") return soak(world, std::atof(argv[2]));
  if (mode == "trace") return trace(world, argv[2]);
  std::fprintf(stderr, "usage: %s expect|run|soak|trace VALUE\n", argv[0]);
  return 2;
}
