// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/core/error.hpp>

// Carries out the programs of all ranks of a group at once, in one thread, without a communicator: what arrives where, when,
// and whether anything can hang. Messages are a rendezvous (a send completes with its receive), the hardest case.
//
//   schedule::examination e = schedule::examine(algorithms::ring_all_reduce, {.kind = ..., .size = 5, .count = 7}, network, values);
//
// Used by tests (with values that remember their origin), by the cost model (times, without values) and by comm::explain.

namespace entrain::comm::schedule {

// Seconds per message, per element sent and per element combined.
struct network {
  double alpha = 0, beta = 0, gamma = 0;
};

struct examination {
  std::string hangs;             // empty, or who waits for what
  std::vector<double> finished;  // time, per rank
  std::vector<cost> sent;        // messages and elements of each rank

  double time() const { return finished.empty() ? 0 : *std::max_element(finished.begin(), finished.end()); }
};

// No values: only times and counts.
struct no_values {
  void copy(int, const region&, int, const region&) {}
  void combine(int, const region&, const region&, const region&) {}
};

namespace detail {

struct walker {
  program what;
  std::size_t at = 0;          // first step of the round under way
  std::size_t end = 0;         // past its messages
  std::vector<bool> done;      // its messages
  double now = 0, send_free = 0, receive_free = 0, latest = 0;

  bool finished() const { return at == what.steps().size(); }
};
inline bool is_message(const step& s) { return s.what == step::kind::send || s.what == step::kind::receive; }

}  // namespace detail

// values.copy(from_rank, from, to_rank, to) and values.combine(rank, left, right, to) see every movement. `how.write` is asked for every rank;
// values.round(rank) is told, if it is there, that a rank begins a round. `of_rank` may adjust the problem of each rank (counts of the variable collectives).
template <class Values, class OfRank>
examination examine(const algorithm& how, problem what, const network& net, Values&& values, OfRank&& of_rank) {
  using detail::is_message;
  const int p = what.size;
  std::vector<detail::walker> ranks(static_cast<std::size_t>(p));
  examination result;
  result.finished.resize(std::size_t(p)), result.sent.resize(std::size_t(p));
  const auto begin = [&](int r) {  // local work up to the next round's messages, then those
    auto& w = ranks[std::size_t(r)];
    const auto steps = w.what.steps();
    for (; w.at < steps.size() && !is_message(steps[w.at]); ++w.at) {
      const step& s = steps[w.at];
      if (s.what == step::kind::copy) values.copy(r, s.from, r, s.to);
      else values.combine(r, s.from, s.second, s.to), w.now += net.gamma * double(s.to.count);
    }
    for (w.end = w.at; w.end < steps.size() && is_message(steps[w.end]) && (w.end == w.at || !steps[w.end].begins_round);) ++w.end;
    w.done.assign(w.end - w.at, false);
    w.latest = w.now;
    if constexpr (requires { values.round(r); }) values.round(r);
  };
  for (int r = 0; r < p; ++r) {
    problem mine = what;
    mine.rank = r;
    of_rank(mine);
    how.write(ranks[std::size_t(r)].what, mine);
    begin(r);
  }
  // The first message of r's round that is not done and has this kind and peer.
  const auto open = [&](int r, step::kind kind, int peer) -> std::size_t {
    auto& w = ranks[std::size_t(r)];
    for (std::size_t i = w.at; i < w.end; ++i)
      if (!w.done[i - w.at] && w.what.steps()[i].what == kind && w.what.steps()[i].peer == peer) return i;
    return std::size_t(-1);
  };
  // The message of each sender that can start first: looked for again when something changed at either end.
  struct candidate {
    double start = 0;
    int to = -1;
    std::size_t sends = 0, receives = 0;
  };
  std::vector<candidate> first(ranks.size());
  const auto look = [&](int r) {
    const auto& w = ranks[std::size_t(r)];
    candidate& best = first[std::size_t(r)];
    best = {};
    for (std::size_t i = w.at; i < w.end; ++i) {
      const step& s = w.what.steps()[i];
      if (w.done[i - w.at] || s.what != step::kind::send || open(r, step::kind::send, s.peer) != i) continue;
      const std::size_t there = open(s.peer, step::kind::receive, r);
      if (there == std::size_t(-1)) continue;
      const auto& other = ranks[std::size_t(s.peer)];
      const double start = std::max({w.now, other.now, w.send_free, other.receive_free});
      if (best.to < 0 || start < best.start) best = {start, s.peer, i, there};
    }
  };
  const auto look_around = [&](int r) {
    look(r);
    const auto& w = ranks[std::size_t(r)];
    for (std::size_t i = w.at; i < w.end; ++i)
      if (const step& s = w.what.steps()[i]; s.what == step::kind::receive && !w.done[i - w.at]) look(s.peer);
  };
  for (int r = 0; r < p; ++r) look(r);
  for (;;) {
    int from = -1;
    for (int r = 0; r < p; ++r)
      if (const auto& c = first[std::size_t(r)]; c.to >= 0 && (from < 0 || c.start < first[std::size_t(from)].start)) from = r;
    if (from < 0) break;
    const auto [best, to, sends, receives] = first[std::size_t(from)];
    auto &a = ranks[std::size_t(from)], &b = ranks[std::size_t(to)];
    const step &out = a.what.steps()[sends], &in = b.what.steps()[receives];
    if (out.from.count != in.to.count)
      throw usage_error("comm::schedule::examine", entrain::detail::text(how.name, ": message from rank ", from, " to rank ", to, " has two sizes"),
                        entrain::detail::text(out.from.count), entrain::detail::text(in.to.count));
    values.copy(from, out.from, to, in.to);
    const double end = best + net.alpha + net.beta * double(out.from.count);
    a.send_free = b.receive_free = end;
    a.latest = std::max(a.latest, end), b.latest = std::max(b.latest, end);
    a.done[sends - a.at] = true, b.done[receives - b.at] = true;
    ++result.sent[std::size_t(from)].messages, result.sent[std::size_t(from)].elements += out.from.count;
    for (const int r : {from, to}) {
      auto& w = ranks[std::size_t(r)];
      if (w.at == w.end || std::find(w.done.begin(), w.done.end(), false) != w.done.end()) continue;
      w.now = w.latest, w.at = w.end;
      begin(r);
    }
    look_around(from), look_around(to);
  }
  for (int r = 0; r < p; ++r) {
    const auto& w = ranks[std::size_t(r)];
    result.finished[std::size_t(r)] = w.now;
    if (w.finished()) continue;
    for (std::size_t i = w.at; i < w.end; ++i)
      if (const step& s = w.what.steps()[i]; !w.done[i - w.at])
        result.hangs += entrain::detail::text("rank ", r, s.what == step::kind::send ? " sends to " : " receives from ", s.peer, "; ");
  }
  return result;
}

inline examination examine(const algorithm& how, const problem& what, const network& net) {
  return examine(how, what, net, no_values{}, [](problem&) {});
}

}  // namespace entrain::comm::schedule
