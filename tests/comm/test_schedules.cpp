// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "catch.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <entrain/comm/algorithms/table.hpp>
#include <entrain/testing/algorithm_laws.hpp>

// Algorithms as schedules: the laws hold for every one of the table, algorithms that are broken in one way are refused for that, and
// the closed forms are those of the literature.

using namespace entrain;
using comm::algorithm;
using comm::collective;
using comm::cost;
using comm::problem;
using comm::schedule::program;
using comm::schedule::region;
namespace algorithms = comm::algorithms;

namespace {

// How far the predicted time may be off: algorithms that are not listed are exact, always.
testing::algorithm_checks checks_of(const algorithm& a) {
  if (a.name == "binary_tree") return {.time_tolerance = 0.25, .uneven_time_tolerance = 0.5};
  if (a.name == "double_binary_tree") return {.time_tolerance = 0.3, .uneven_time_tolerance = 0.5};
  if (a.name == "halving_gather") return {.uneven_time_tolerance = 0.34};
  if (a.kind == collective::all_gather_v && a.name == "bruck") return {.uneven_time_tolerance = 0.5};  // a bound
  if (a.kind == collective::all_to_all_v) return {.time_tolerance = 1};  // a rank knows only its own counts
  if (a.name == "hierarchical") return {.sizes = {1, 2, 3, 4, 6, 8, 9, 12, 13, 16}, .nodes = true, .uneven_time_tolerance = 0.5};
  return {};
}

// What the law says against an algorithm.
std::string refusal(const algorithm& a, const problem& c) {
  try {
    testing::check_algorithm(a, c);
  } catch (const error& e) {
    return e.what();
  }
  return "";
}
bool says(const std::string& message, std::string_view part) { return message.find(part) != std::string::npos; }

cost predict_doubling(const problem& c) { return algorithms::recursive_doubling::predict_all_reduce(c); }
problem all_reduce_of(int p, std::size_t n) { return {.kind = collective::all_reduce, .size = p, .count = n, .width = 4}; }

// Two ranks exchange their operands: what is done with them is the test's.
template <class Work>
void exchange(program& s, const problem& c, Work&& work) {
  const region arriving = region::scratch(0, c.count);
  s.receive(1 - c.rank, arriving);
  s.send(1 - c.rank, region::in(0, c.count));
  work(arriving, region::in(0, c.count), region::out(0, c.count));
}

}  // namespace

TEST_CASE("Every algorithm of the table keeps the laws", "[schedule]") {
  for (int k = 0; k <= int(collective::all_to_all_v); ++k) {
    const auto kind = collective(k);
    REQUIRE(comm::algorithms_of(kind).size() > 0);
    bool general = false;
    for (const algorithm* a : comm::algorithms_of(kind)) {
      INFO(comm::name_of(kind) << ' ' << a->name);
      CHECK(a->kind == kind);
      general |= a->keeps_order && !a->fits;
      CHECK_NOTHROW(testing::check_algorithm(*a, checks_of(*a)));
    }
    CHECK(general);
  }
}

TEST_CASE("Long operands, in many segments", "[schedule]") {
  for (const algorithm* a : {&algorithms::binary_tree_all_reduce, &algorithms::double_binary_tree_all_reduce}) {
    auto checks = checks_of(*a);
    checks.sizes = {2, 3, 8, 13}, checks.width = 4096;
    INFO(a->name);
    CHECK_NOTHROW(testing::check_algorithm(*a, checks));
  }
  CHECK(algorithms::double_binary_tree::shape({.size = 8, .count = 64, .width = 4096}).pieces > 2);
}

TEST_CASE("Closed forms for powers of two are those of the literature", "[schedule]") {
  struct row {
    const algorithm& how;
    int p, g;
    double alphas, betas, gammas;
    std::uint64_t messages, elements;  // that rank 0 sends
  };
  // n = 64, root 3.
  const row rows[] = {
      {algorithms::ring_all_reduce, 8, 1, 14, 112, 56, 14, 112},
      {algorithms::recursive_doubling_all_reduce, 8, 1, 3, 192, 192, 3, 192},
      {algorithms::rabenseifner_all_reduce, 8, 1, 6, 112, 56, 6, 112},
      {algorithms::swing_all_reduce, 8, 1, 6, 112, 56, 6, 112},
      {algorithms::recursive_doubling_all_reduce, 16, 1, 4, 256, 256, 4, 256},
      {algorithms::rabenseifner_all_reduce, 16, 1, 8, 120, 60, 8, 120},
      {algorithms::rabenseifner_all_reduce, 5, 1, 6, 224, 112, 5, 160},           // 4 and one folded: 2 alphas, 128 betas, 64 gammas more
      {algorithms::recursive_doubling_all_reduce, 5, 1, 4, 256, 192, 3, 192},
      {algorithms::hierarchical_all_reduce, 8, 2, 6, 112, 56, 6, 112},            // 2 (g - 1) + 2 log q; 2 (g - 1)/g n + 2 (q - 1)/q n/g
      {algorithms::hierarchical_all_reduce, 8, 4, 8, 112, 72, 8, 112},
      {algorithms::binomial_reduce, 8, 1, 3, 192, 192, 1, 64},
      {algorithms::halving_gather_reduce, 8, 1, 6, 112, 56, 4, 72},               // 32 + 16 + 8, and 16 in the gather
      {algorithms::binary_tree_all_reduce, 8, 1, 10, 640, 320, 1, 64},             // a leaf: sends up only
      {algorithms::binomial_broadcast, 8, 1, 3, 192, 0, 0, 0},
  };
  for (const auto& r : rows) {
    const problem c{.kind = r.how.kind, .rank = 0, .size = r.p, .count = 64, .width = 4, .root = 3, .ranks_per_node = r.g};
    INFO(r.how.name << " on " << r.p);
    const cost k = r.how.predict(c);
    const auto time = [&](const comm::schedule::network& net) { return comm::schedule::examine(r.how, c, net).time(); };
    CHECK(k.alphas == r.alphas);
    CHECK(k.betas == r.betas);
    CHECK(k.gammas == r.gammas);
    CHECK(k.messages == r.messages);
    CHECK(k.elements == r.elements);
    CHECK(time({1, 0, 0}) == r.alphas);
    CHECK(time({0, 1, 0}) == r.betas);
    CHECK(time({0, 0, 1}) == r.gammas);
  }
}

TEST_CASE("Trees send little, and swing stays close", "[schedule]") {
  for (const int p : {2, 3, 5, 8, 13, 32})
    for (int r = 0; r < p; ++r) {
      const problem c{.kind = collective::all_reduce, .rank = r, .size = p, .count = 1 << 20, .width = 4};
      CHECK(algorithms::binary_tree_all_reduce.predict(c).elements <= 3 * c.count);
      CHECK(algorithms::double_binary_tree_all_reduce.predict(c).elements <= 2 * c.count);
    }
  const int distances[] = {1, -1, 3, -5, 11, -21};
  for (int k = 0; k < 6; ++k) CHECK(algorithms::swing::rho(k) == distances[k]);
}

TEST_CASE("Scratch memory is what the headers say, and programs are written without allocating", "[schedule]") {
  const std::map<const algorithm*, std::size_t> memory{{&algorithms::ring_all_reduce, 8},
                                                       {&algorithms::recursive_doubling_all_reduce, 64},
                                                       {&algorithms::rabenseifner_all_reduce, 32},
                                                       {&algorithms::swing_all_reduce, 32},
                                                       {&algorithms::binomial_reduce, 64}};
  for (const auto& [how, elements] : memory) {
    program s;
    problem c{.kind = how->kind, .rank = 1, .size = 8, .count = 64, .width = 4, .root = 1};
    how->write(s, c);
    CHECK(s.scratch_elements() == elements);
    const auto* where = s.steps().data();
    s.clear();
    how->write(s, c);
    CHECK(s.steps().data() == where);
    for (const auto& step : s.steps()) CHECK(step.what != comm::schedule::step::kind::copy);
  }
}

TEST_CASE("Hundreds of ranks are examined quickly", "[schedule]") {
  const auto seen = comm::schedule::examine(algorithms::rabenseifner_all_reduce, all_reduce_of(512, 4096), {1, 0, 0});
  CHECK(seen.hangs.empty());
  CHECK(seen.time() == 18);
}

TEST_CASE("Results that are wrong are refused", "[schedule]") {
  algorithm ring = algorithms::ring_all_reduce;
  ring.keeps_order = true;
  CHECK(says(refusal(ring, all_reduce_of(4, 8)), "operands meet in rank order"));

  const algorithm own_left{collective::all_reduce, "own_left", false, [](program& s, const problem& c) {
    exchange(s, c, [&](region a, region own, region out) { s.combine(own, a, out); });
  }, predict_doubling};
  CHECK(says(refusal(own_left, all_reduce_of(2, 3)), "the same tree on every rank"));

  const algorithm forgets{collective::all_reduce, "forgets", true, [](program& s, const problem& c) {
    exchange(s, c, [&](region a, region, region out) { s.copy(a, out); });
  }, predict_doubling};
  CHECK(says(refusal(forgets, all_reduce_of(2, 3)), "every rank's operand once"));

  const algorithm twice{collective::all_reduce, "twice", true, [](program& s, const problem& c) {
    exchange(s, c, [&](region a, region own, region out) { s.combine(own, own, out), s.combine(a, out, out); });
  }, predict_doubling};
  CHECK(says(refusal(twice, all_reduce_of(2, 3)), "every rank's operand once"));

  const algorithm shifted{collective::all_reduce, "shifted", true, [](program& s, const problem& c) {
    exchange(s, c, [&](region a, region own, region out) { s.combine(own.part(0, 1), a.part(1, 1), out.part(0, 1)); });
  }, predict_doubling};
  CHECK(says(refusal(shifted, all_reduce_of(2, 3)), "elements of the same position"));

  // It clears its output first: fine, unless the input lies there.
  const algorithm not_in_place{collective::all_reduce, "not_in_place", true, [](program& s, const problem& c) {
    const region in = region::in(0, c.count), out = region::out(0, c.count), kept = region::scratch(0, c.count);
    const int other = 1 - c.rank;
    if (c.rank == 0) {
      s.receive(other, out), s.combine(in, out, out), s.send(other, out);
    } else {
      s.copy(in, kept), s.send(other, kept), s.next_round(), s.receive(other, out);
    }
  }, [](const problem& c) { return cost{2, 2.0 * double(c.count), double(c.count), 1, c.count}; }};
  CHECK(says(refusal(not_in_place, all_reduce_of(2, 3)), "in place: every rank's operand once"));

  const algorithm deaf{collective::barrier, "deaf", true, [](program& s, const problem& c) {
    const auto p = c.size;  // half of a dissemination
    s.receive((c.rank + p - 1) % p, region::scratch(0, 1)), s.send((c.rank + 1) % p, region::scratch(1, 1));
  }, [](const problem&) { return cost{1, 1, 0, 1, 1}; }};
  CHECK(refusal(deaf, {.kind = collective::barrier, .size = 2}).empty());
  CHECK(says(refusal(deaf, {.kind = collective::barrier, .size = 3}), "no rank leaves before all have entered"));
}

TEST_CASE("Programs that cannot be carried out are refused", "[schedule]") {
  const auto refused = [](void (*write)(program&, const problem&), std::string_view why) {
    const auto message = refusal({collective::all_reduce, "broken", true, write, predict_doubling}, all_reduce_of(2, 3));
    INFO(message);
    CHECK(says(message, why));
  };
  refused([](program& s, const problem& c) {  // both wait for the other's message
    s.receive(1 - c.rank, region::scratch(0, c.count)), s.next_round(), s.send(1 - c.rank, region::in(0, c.count));
  }, "never hangs");
  refused([](program& s, const problem& c) {
    if (c.rank == 0) s.send(1, region::in(0, 3));
    else s.receive(0, region::out(0, 2));
  }, "has two sizes");
  refused([](program& s, const problem& c) { s.send(1 - c.rank, region::in(1, c.count)); }, "regions lie inside their operands");
  refused([](program& s, const problem& c) { s.receive(1 - c.rank, region::in(0, c.count)); }, "the input is not written");
  refused([](program& s, const problem& c) { s.send(c.rank, region::in(0, c.count)); }, "messages go to another rank");
  refused([](program& s, const problem& c) {
    s.send(1 - c.rank, region::out(0, 2)), s.receive(1 - c.rank, region::out(1, 2));
  }, "does not also receive");
  refused([](program& s, const problem&) { s.combine(region::in(0, 2), region::in(0, 1), region::out(0, 2)); }, "operands of one size");
}

TEST_CASE("Costs that are wrong are refused", "[schedule]") {
  const auto refused = [](cost (*predict)(const problem&), std::string_view why) {
    algorithm a = algorithms::recursive_doubling_all_reduce;
    a.predict = predict;
    const auto message = refusal(a, all_reduce_of(4, 8));
    INFO(message);
    CHECK(says(message, why));
  };
  refused([](const problem& c) { cost k = predict_doubling(c); ++k.messages; return k; }, "predicts what is sent");
  refused([](const problem& c) { cost k = predict_doubling(c); --k.elements; return k; }, "predicts what is sent");
  refused([](const problem& c) { cost k = predict_doubling(c); ++k.alphas; return k; }, "predicts the time (alpha)");
  refused([](const problem& c) { cost k = predict_doubling(c); ++k.betas; return k; }, "predicts the time (beta)");
  refused([](const problem& c) { cost k = predict_doubling(c); ++k.gammas; return k; }, "predicts the time (gamma)");
  refused([](const problem& c) { cost k = predict_doubling(c); k.alphas += c.rank; return k; }, "every rank predicts the same time");
}
