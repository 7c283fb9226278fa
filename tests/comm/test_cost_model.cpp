// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "catch.hpp"
#include <entrain/comm/algorithms/ring_all_reduce.hpp>
#include <entrain/comm/algorithms/table.hpp>
#include <entrain/comm/cost_model.hpp>
#include <entrain/comm/cost_model/fit.hpp>
#include <entrain/comm/detail/build.hpp>
#include <entrain/comm/explain.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/selection.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>

// Predictions against what is counted, the choice, profiles and their files, and the text that explains it all.

using namespace entrain;
using comm::collective;
using comm::cost_entry;
using comm::link_cost;
using comm::problem;

namespace {

using messages_only = comm::point_to_point_only<comm::threads>;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// What rank `c.rank` hands over where rank r has r + 1 parts in three more elements than its neighbour, some none.
struct uneven {
  std::vector<std::size_t> counts, receive;
  explicit uneven(problem& c) {
    const auto p = std::size_t(c.size), me = std::size_t(c.rank);
    const auto piece = [&](std::size_t from, std::size_t to) { return (from + 2 * to) % 3 == 0 ? 0 : c.count + from; };
    for (std::size_t r = 0; r < p; ++r) {
      counts.push_back(c.kind == collective::all_gather_v ? piece(r, 0) : piece(me, r));
      receive.push_back(piece(r, me));
    }
    if (c.kind == collective::all_gather_v || c.kind == collective::all_to_all_v) c.counts = counts;
    if (c.kind == collective::all_to_all_v) c.receive_counts = receive;
  }
};

}  // namespace

namespace {

comm::profile one_link(double alpha, double beta, double gamma = 0) {
  return comm::profile({{"*", "*", "*", 0, {{0, {alpha, beta, gamma}}}}, {"*", "*", "native", 0, {{0, {alpha, beta, gamma}}}}}, "test");
}

std::string temporary_path() { return "/tmp/entrain_profile_" + std::to_string(::getpid()) + ".json"; }

// holds() in a process of its own, which has not looked at its profile yet.
template <class Holds>
bool in_another_process(Holds holds) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    try {
      good = holds();
    } catch (...) {}
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

// First, before anything here asks for the profile of this process.
TEST_CASE("the profile of a process is the file of ENTRAIN_PROFILE, read once, or the built-in one") {
  const std::string path = temporary_path();
  comm::write_profile(one_link(1, 2, 3), path);
  CHECK(in_another_process([&] {
    ::setenv("ENTRAIN_PROFILE", path.c_str(), 1);
    const auto& first = comm::current_profile();
    ::setenv("ENTRAIN_PROFILE", "/nowhere", 1);
    return first.signature() == one_link(1, 2, 3).signature() && first.origin() == path && &comm::current_profile() == &first;
  }));
  CHECK(in_another_process([] {
    ::unsetenv("ENTRAIN_PROFILE");
    return comm::current_profile().signature() == comm::built_in_profile().signature() && comm::current_profile().origin() == "built-in";
  }));
  CHECK(in_another_process([] {
    ::setenv("ENTRAIN_PROFILE", "/nowhere", 1);
    try {
      comm::current_profile();
    } catch (const file_error& e) {
      return e.where() == "/nowhere";
    }
    return false;
  }));
  std::remove(path.c_str());
}

TEST_CASE("every algorithm sends exactly the messages and bytes that it predicts") {
  std::atomic<int> compared{0};
  for (int p = 1; p <= 8; ++p)
    comm::run_ranks(p, {.deadline = std::chrono::seconds(120)}, [&](comm::threads& world) {
      messages_only messages{world};
      std::vector<std::uint32_t> in(4096, 1), out(4096, 1);
      for (int k = 0; k < comm::collective_kinds; ++k)
        for (const comm::algorithm* how : comm::algorithms_of(collective(k)))
          for (const std::size_t count : std::set<std::size_t>{0, std::size_t(p - 1), 37}) {
            problem c{.kind = collective(k), .rank = world.rank(), .size = p, .count = count, .width = 4, .root = p / 2, .ranks_per_node = p % 2 == 0 ? 2 : 1};
            const uneven counts(c);
            if (!comm::fits(*how, c, true)) continue;
            const comm::traffic before = world.counters();
            comm::detail::start_built<std::uint32_t, comm::sum>(messages, *how, c, in.data(), out.data()).wait();
            const comm::cost expected = how->predict(c);
            const comm::traffic& after = world.counters();
            ++compared;
            const bool same = after.wire_messages - before.wire_messages == expected.messages && after.wire_bytes - before.wire_bytes == 4 * expected.elements;
            if (!same)
              throw error("test", entrain::detail::text(comm::name_of(c.kind), " ", how->name, ", rank ", c.rank, " of ", p, ", ", count, " elements"),
                          entrain::detail::text(expected.messages, " messages, ", 4 * expected.elements, " bytes"),
                          entrain::detail::text(after.wire_messages - before.wire_messages, " messages, ", after.wire_bytes - before.wire_bytes, " bytes"));
          }
    });
  CHECK(compared > 36);
}

TEST_CASE("names in the table of algorithms are unique, and none is a native's") {
  for (int k = 0; k < comm::collective_kinds; ++k) {
    std::set<std::string_view> names;
    for (const comm::algorithm* how : comm::algorithms_of(collective(k))) {
      INFO(comm::name_of(collective(k)) << " " << how->name);
      CHECK(how->kind == collective(k));
      CHECK(names.insert(how->name).second);
      CHECK(how->name != "native");
      CHECK(how->name != "*");
    }
  }
}

TEST_CASE("predicted times are those of the model, in the range of the message's size") {
  const comm::profile costs({{"*", "*", "*", 0, {{0, {2, 0.5, 0.25}}, {1000, {3, 0.75, 0.5}}}}}, "test");
  problem c{.kind = collective::all_reduce, .size = 4, .count = 100, .width = 4};
  const auto small = comm::predicted_seconds(costs, "any", comm::algorithms::ring_all_reduce, c);
  CHECK(small.seconds == Approx(6 * 2 + 6 * 100 * 0.5 + 3 * 100 * 0.25));
  CHECK(small.link == link_cost{2, 0.5, 0.25});
  c.count = 1000;
  CHECK(comm::predicted_seconds(costs, "any", comm::algorithms::ring_all_reduce, c).seconds == Approx(6 * 3 + 6 * 1000 * 0.75 + 3 * 1000 * 0.5));
  c.count = 250;  // 1000 bytes: the first of the second range
  CHECK(comm::predicted_seconds(costs, "any", comm::algorithms::ring_all_reduce, c).link.alpha == 3);
  // Native: the lower bound.
  CHECK(comm::predicted_native_seconds(costs, "any", "native", c).from->communicator == "*");
  CHECK(comm::native_cost(c).alphas == 2);
  CHECK(comm::native_cost(c).betas == Approx(2 * 250 * 0.75));
  for (const int p : {1, 2, 3, 4, 5, 8, 9}) {
    c.size = p;
    CHECK(comm::native_cost(c).alphas == std::ceil(std::log2(double(p))));
  }
}

TEST_CASE("the closest entry of a profile is used, and one that is not there is taken from the built-in profile") {
  const comm::profile costs({{"mpi", "all_reduce", "ring", 2, {{0, {1, 0, 0}}}},
                             {"mpi", "all_reduce", "ring", 8, {{0, {2, 0, 0}}}},
                             {"mpi", "*", "ring", 0, {{0, {3, 0, 0}}}},
                             {"mpi", "*", "*", 0, {{0, {4, 0, 0}}}},
                             {"*", "*", "*", 0, {{0, {5, 0, 0}}}},
                             {"mpi", "*", "native", 0, {{0, {6, 0, 0}}}},
                             {"mpi", "all_reduce", "shared memory", 4, {{0, {7, 0, 0}}}}},
                            "test");
  const auto alpha = [&](std::string_view where, collective kind, std::string_view how, bool native, int ranks) {
    const auto* found = costs.find(where, kind, how, native, ranks);
    return found ? found->ranges[0].cost.alpha : -1;
  };
  CHECK(alpha("mpi", collective::all_reduce, "ring", false, 2) == 1);
  CHECK(alpha("mpi", collective::all_reduce, "ring", false, 3) == 1);
  CHECK(alpha("mpi", collective::all_reduce, "ring", false, 4) == 1);  // as near to 2 as to 8
  CHECK(alpha("mpi", collective::all_reduce, "ring", false, 5) == 2);
  CHECK(alpha("mpi", collective::all_reduce, "ring", false, 1000) == 2);
  CHECK(alpha("mpi", collective::reduce, "ring", false, 2) == 3);
  CHECK(alpha("mpi", collective::all_reduce, "swing", false, 2) == 4);
  CHECK(alpha("other", collective::all_reduce, "ring", false, 2) == 5);
  CHECK(alpha("mpi", collective::all_reduce, "MPI_Iallreduce", true, 2) == 6);
  CHECK(alpha("mpi", collective::all_reduce, "shared memory", true, 2) == 7);
  CHECK(alpha("other", collective::all_reduce, "native", true, 2) == -1);
  const problem c{.kind = collective::all_reduce, .size = 2, .count = 1, .width = 4};
  CHECK(comm::predicted_native_seconds(costs, "other", "native", c).seconds > 0);
}

TEST_CASE("ring and recursive doubling cross where the closed form says") {
  // m* = 2 (P - 1 - log2(P) / 2) alpha / (beta (log2 P - 2 (P - 1) / P)), gamma = 0.
  const double alpha = 2e-6, beta = 3e-10;
  const auto costs = one_link(alpha, beta);
  const comm::algorithm doubling{collective::all_reduce, "doubling", true, nullptr, [](const problem& c) {
                                   const double steps = std::log2(double(c.size));
                                   return comm::cost{steps, steps * double(c.count), steps * double(c.count), 0, 0};
                                 }};
  for (const int p : {4, 8, 16, 64}) {
    const double steps = std::log2(double(p));
    const double crossing = 2 * (p - 1 - steps / 2) * alpha / (beta * (steps - 2.0 * (p - 1) / p));
    for (const double part : {0.5, 0.9, 1.1, 2.0}) {
      const problem c{.kind = collective::all_reduce, .size = p, .count = std::size_t(part * crossing / 4), .width = 4};
      const double ring = comm::predicted_seconds(costs, "any", comm::algorithms::ring_all_reduce, c).seconds;
      const double whole = comm::predicted_seconds(costs, "any", doubling, c).seconds;
      INFO(p << " ranks, " << part << " of the crossing");
      CHECK((ring < whole) == (part > 1));
    }
  }
}

TEST_CASE("the choice is the fastest prediction, the same for every rank, and costs a look-up") {
  const auto costs = one_link(1e-6, 1e-10, 1e-10);
  for (int k = 0; k < comm::collective_kinds; ++k) {
    const auto kind = collective(k);
    if (kind == collective::all_to_all_v) continue;
    for (const int p : {2, 3, 4, 7, 8})
      for (const bool commutative : {false, true})
        for (const bool native : {false, true})
          for (const std::size_t count : {0u, 1u, 2u, 3u, 5u, 8u, 11u, 100u, 1000u, 4097u, 100000u, 12345678u}) {
            const std::vector<std::size_t> counts(std::size_t(p), count);
            problem c{.kind = kind, .size = p, .count = count, .width = 4};
            if (kind == collective::all_gather_v) c.counts = counts;
            double best = native ? comm::predicted_native_seconds(costs, "any", "native", c).seconds : 1e9;
            bool possible = native;
            for (const comm::algorithm* how : comm::algorithms_of(kind))
              if (comm::fits(*how, c, commutative)) best = std::min(best, comm::predicted_seconds(costs, "any", *how, c).seconds), possible = true;
            if (!possible) continue;
            const comm::choice chosen = comm::choose("any", native, c, commutative, costs);
            const double seconds = chosen.built ? comm::predicted_seconds(costs, "any", *chosen.built, c).seconds
                                                : comm::predicted_native_seconds(costs, "any", "native", c).seconds;
            INFO(comm::name_of(kind) << ", " << p << " ranks, " << count << " elements: " << (chosen.built ? chosen.built->name : "native"));
            CHECK(seconds <= best * 1.0001);
            CHECK(chosen.seconds == Approx(best).epsilon(0.3));
            if (chosen.built) CHECK((commutative || chosen.built->keeps_order));
            for (c.rank = 1; c.rank < p; ++c.rank) CHECK(comm::choose("any", native, c, commutative, costs).built == chosen.built);
          }
  }
}

TEST_CASE("all_to_all_v is chosen without its counts, which differ from rank to rank") {
  if (comm::algorithms_of(collective::all_to_all_v).empty()) return;
  const std::vector<std::size_t> few{0, 1, 2, 3}, many{100000, 200000, 300000, 0};
  problem c{.kind = collective::all_to_all_v, .size = 4, .width = 4};
  for (const bool native : {false, true}) {
    c.counts = c.receive_counts = few;
    const auto first = comm::choose("threads", native, c, true).built;
    c.counts = c.receive_counts = many, c.rank = 3;
    CHECK(comm::choose("threads", native, c, true).built == first);
  }
}

TEST_CASE("a collective that nothing can do is a usage error") {
  const problem c{.kind = collective::all_reduce, .size = 4, .count = 10, .width = 4};
  bool ordered = false;
  for (const comm::algorithm* how : comm::algorithms_of(collective::all_reduce)) ordered |= how->keeps_order;
  if (ordered) CHECK_NOTHROW(comm::choose("threads", false, c, false));
  else CHECK_THROWS_AS(comm::choose("threads", false, c, false), usage_error);
  CHECK(comm::choose("threads", true, {.kind = collective::all_reduce, .size = 1, .count = 10, .width = 4}, true).built == nullptr);
}

TEST_CASE("a profile is the same after writing and reading") {
  const comm::profile made({{"mpi", "all_reduce", "ring \"quoted\"", 4, {{0, {1.5e-6, 0.1 + 0.2, 0}}, {65536, {1e-5, 1e-310, 3}}}}, {"*", "*", "native", 0, {{0, {}}}}}, "here");
  const std::string path = temporary_path();
  comm::write_profile(made, path);
  const comm::profile read = comm::read_profile(path);
  std::remove(path.c_str());
  CHECK(read.entries() == made.entries());
  CHECK(read.signature() == made.signature());
  CHECK(read.origin() == path);
  CHECK(comm::profile_from_json(comm::to_json(comm::built_in_profile()), "text").signature() == comm::built_in_profile().signature());
  CHECK(one_link(1, 2, 3).signature() != one_link(1, 2, 4).signature());
  CHECK_THROWS_AS(comm::read_profile("/nowhere/profile.json"), file_error);
  CHECK_THROWS_AS(comm::write_profile(made, "/nowhere/profile.json"), file_error);
}

TEST_CASE("a bad profile is refused with its path, the place, what was expected and what was found") {
  const std::string range = R"({"from_bytes": 0, "alpha": 1e-6, "beta": 2e-10, "gamma": 0})";
  const auto entry = [](const std::string& ranges) {
    return R"({"communicator": "mpi", "collective": "all_reduce", "algorithm": "ring", "ranks": 4, "ranges": [)" + ranges + "]}";
  };
  const auto file = [](const std::string& entries) { return R"({"format": "entrain cost profile", "version": 1, "entries": [)" + entries + "]}"; };
  const std::string good = file(entry(range));
  REQUIRE_NOTHROW(comm::profile_from_json(good, "p.json"));
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const struct { std::string text, expected, found; } cases[] = {
      {"", "an object", "the end of the text"},
      {good.substr(0, good.size() - 10), "", ""},
      {good + "x", "the end of the text", "x"},
      {replaced("entrain cost profile", "something"), "entrain cost profile", "something"},
      {replaced("\"version\": 1", "\"version\": 2"), "1", "2"},
      {replaced("\"version\": 1, ", ""), "'version'", "end of the object"},
      {replaced("\"ranks\": 4", "\"rank\": 4"), "'ranks'", "'rank'"},
      {replaced("\"ranks\": 4, ", ""), "'ranks'", "end of the object"},
      {replaced("\"ranks\": 4", "\"ranks\": -4"), "a whole number", "-4"},
      {replaced("\"ranks\": 4", "\"ranks\": 4000000000"), "an int", "4000000000"},
      {replaced("\"ranks\": 4", "\"ranks\": 4, \"ranks\": 4"), "unique keys", "'ranks' again"},
      {replaced("all_reduce", "all_produce"), "a collective's name", "all_produce"},
      {replaced("1e-6", "-1e-6"), "0 or more", "a minus sign"},
      {replaced("1e-6", "NaN"), "a number", "NaN"},
      {replaced("1e-6", "1e999"), "a number", "1e999"},
      {replaced("1e-6", "\"1\""), "a number", "1"},
      {replaced("\"gamma\": 0", "\"delta\": 0"), "'gamma'", "'delta'"},
      {replaced(", \"gamma\": 0", ""), "'gamma'", "end of the object"},
      {replaced("\"from_bytes\": 0", "\"from_bytes\": 8"), "the first from 0 bytes", "8"},
      {file(entry(range + "," + range)), "more than 0 bytes", "0"},
      {file(entry("")), "at least one", "none"},
      {file(entry(range) + "," + entry(range)), "mpi, all_reduce, ring, 4 ranks", "entries 0 and 1"},
  };
  for (const auto& bad : cases) {
    INFO(bad.text);
    try {
      comm::profile_from_json(bad.text, "p.json");
      FAIL("was read");
    } catch (const file_error& e) {
      INFO(e.what());
      CHECK(e.where().rfind("p.json:", 0) == 0);
      CHECK(contains(e.expected(), bad.expected));
      CHECK(contains(e.found(), bad.found));
    }
  }
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_THROWS_AS(comm::profile_from_json(good.substr(0, length), "p.json"), file_error);
  using entries = std::vector<cost_entry>;
  CHECK_THROWS_AS(comm::profile(entries{{"*", "*", "*", 0, {}}}, "test"), usage_error);
  CHECK_THROWS_AS(comm::profile(entries{{"*", "*", "*", -1, {{0, {}}}}}, "test"), usage_error);
  CHECK_THROWS_AS(comm::profile(entries{{"*", "*", "*", 0, {{0, {std::numeric_limits<double>::quiet_NaN(), 0, 0}}}}}, "test"), usage_error);
  CHECK_THROWS_AS(comm::profile(entries{{"*", "*", "*", 0, {{0, {}}}}, {"*", "*", "*", 0, {{0, {}}}}}, "test"), usage_error);
}

TEST_CASE("ranks with different profiles are named, on every rank") {
  const auto usual = one_link(1, 2), other = one_link(1, 3);
  for (const int p : {1, 2, 5})
    CHECK_NOTHROW(comm::run_ranks(p, {.deadline = std::chrono::seconds(60)}, [&](comm::threads& world) {
      comm::agree_on_profile(world, usual);
      comm::agree_on_profile(world);
    }));
  std::vector<std::string> said(5);
  comm::run_ranks(5, {.deadline = std::chrono::seconds(60)}, [&](comm::threads& world) {
    const int r = world.rank();
    try {
      comm::agree_on_profile(world, r == 1 || r == 4 ? other : usual);
    } catch (const usage_error& e) {
      said[std::size_t(r)] = e.found();
    }
  });
  for (const auto& text : said) CHECK(contains(text, "rank(s) 1, 4"));
}

namespace {

struct left {
  static constexpr bool commutative = false;
  static constexpr std::string_view name = "left";
  static float combine(float a, float) { return a; }
};

}  // namespace

TEST_CASE("a call is explained") {
  comm::run_ranks(4, [](comm::threads& world) {
    const std::string native = comm::explain(world, collective::all_reduce, 1 << 18, comm::built_in_profile());
    const std::string built = comm::explain(messages_only{world}, collective::all_reduce, 1 << 18, comm::built_in_profile());
    messages_only by_hand{world};
    by_hand.use(comm::algorithms::ring_all_reduce);
    const std::string ring = comm::explain(by_hand, collective::all_reduce, 1 << 18);
    std::string all;
    for (int k = 0; k < comm::collective_kinds; ++k) all += comm::explain<double, comm::maximum>(world, collective(k), 100);
    if (world.rank() != 0) return;
    INFO(native << built << ring << all);
    CHECK(contains(native, "all_reduce of 262144 f32 (1 MiB in all), sum, 4 ranks of threads\nchoice: native"));
    CHECK(contains(native, "* native "));
    CHECK(contains(native, "built-in"));
    CHECK(contains(built, "built from messages: the least predicted time"));
    CHECK(contains(built, "impossible:\n  native"));
    CHECK(contains(built, "1.5 MiB"));
    CHECK(contains(ring, "choice: ring, built from messages: asked for by hand"));
    CHECK(contains(all, "maximum"));
    CHECK(contains(all, "barrier, 4 ranks"));
  });
  comm::self alone;
  const std::string text = comm::explain<float, left>(alone, collective::all_reduce, 3);
  INFO(text);
  CHECK(contains(text, "ring                   operands do not meet in rank order, and left does not commute"));
}

TEST_CASE("the fit finds the link that made the times, whole and in ranges") {
  const link_cost small{2e-6, 3e-10, 1e-10}, large{9e-6, 6e-10, 1e-10};
  std::vector<comm::timed_call> calls;
  for (std::uint64_t bytes = 16; bytes <= (1u << 24); bytes *= 4) {
    const problem c{.kind = collective::all_reduce, .size = 4, .count = bytes / 4, .width = 4};
    comm::timed_call call{bytes, 4, comm::algorithms::ring_all_reduce.predict(c), 0};
    call.seconds = comm::seconds(call.what, bytes <= 4096 ? small : large, 4);
    calls.push_back(call);
  }
  const std::uint64_t from[] = {0, 4097};
  const double gamma[] = {1e-10, 1e-10};
  const auto ranges = comm::fit_ranges(calls, from, gamma);
  REQUIRE(ranges.size() == 2);
  const auto near = [](const link_cost& a, const link_cost& b) {
    CHECK(a.alpha == Approx(b.alpha).epsilon(1e-3));
    CHECK(a.beta == Approx(b.beta).epsilon(1e-3));
    CHECK(a.gamma == Approx(b.gamma).epsilon(1e-3));
  };
  near(ranges[0].cost, small), near(ranges[1].cost, large);
  // Never below zero: a gamma that was measured far too large gives way.
  const auto forced = comm::fit_link(calls, 1e-7);
  CHECK(forced.alpha >= 0);
  CHECK(forced.beta >= 0);
  CHECK(forced.gamma < 1e-8);
  CHECK(comm::fit_link({}, 0) == link_cost{});
}
