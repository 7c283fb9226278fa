// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/core/error.hpp>

// A proven deadlock of a simulated job: every rank that is still there waits, nothing is on the wire, and no rank can be
// woken by anything. Unlike a time-out this is certain, and the whole state is known: who waits for what since when.

namespace entrain::comm {

struct deadlock_report {
  enum class what { send, receive, split };
  struct waiting_rank {
    int rank = 0;
    what operation = what::receive;
    int peer = -1;             // -1: split
    std::size_t bytes = 0;
    int tag = 0, group = 0;    // group: 0 is the whole job, others are numbered as they are made
    double since = 0;          // virtual seconds
    bool polling = false;      // in test(), not in wait()
    bool lost = false;         // its message was dropped on the wire
    bool abandoned = false;    // the other end gave it up
    std::vector<int> missing;  // split: who has not called it
  };
  struct crashed_rank {
    int rank = 0;
    double time = 0;
  };

  double time = 0;  // of the last thing that happened
  std::vector<waiting_rank> waiting;
  std::vector<crashed_rank> crashed;
  std::vector<int> returned;
  std::vector<int> cycle;  // ranks that wait for each other in this order, the last for the first; empty: there is no such cycle

  std::string text() const;
};

// Thrown by comm::simulate.
class deadlock_error : public communication_error {
 public:
  explicit deadlock_error(deadlock_report report)
      : communication_error("comm::simulate", "deadlock: " + report.text()), report_(std::move(report)) {}
  const deadlock_report& report() const noexcept { return report_; }

 private:
  deadlock_report report_;
};

namespace simulated_detail {

inline constexpr std::size_t named = 16;  // how many ranks a text lists before it only counts

template <class List, class Print>
std::string listed(const List& all, const char* separator, Print&& print) {
  std::string out;
  for (std::size_t i = 0; i < std::min(all.size(), named); ++i) out += (i > 0 ? separator : "") + print(all[i]);
  if (all.size() > named) out += entrain::detail::text(separator, "and ", all.size() - named, " more");
  return out;
}
inline std::string listed(const std::vector<int>& ranks) {
  return listed(ranks, ", ", [](int r) { return std::to_string(r); });
}

inline std::string text_of(const deadlock_report::waiting_rank& w) {
  using entrain::detail::text;
  const std::string how = text("rank ", w.rank, w.polling ? " polls " : " waits ");
  const std::string when = text(w.group != 0 ? text(", group ", w.group) : "", ", since t = ", w.since, " s");
  if (w.operation == deadlock_report::what::split) return text(how, "in split for rank ", listed(w.missing), when);
  const bool sends = w.operation == deadlock_report::what::send;
  return text(how, sends ? "to send " : "to receive ", w.bytes, " bytes ", sends ? "to" : "from", " rank ", w.peer, ", tag ", w.tag,
              w.tag >= first_internal_tag ? " (of a collective)" : "", when, w.lost ? " (the message was dropped)" : "",
              w.abandoned ? " (the other end gave it up)" : "");
}

// The ranks that wait for each other in a circle, beginning with the smallest; empty if there is none.
inline std::vector<int> cycle_of(const std::vector<deadlock_report::waiting_rank>& waiting, int ranks) {
  std::vector<int> next(std::size_t(ranks), -1), seen(std::size_t(ranks), -1);
  for (const auto& w : waiting)
    next[std::size_t(w.rank)] = w.operation == deadlock_report::what::split && !w.missing.empty() ? w.missing.front() : w.peer;
  for (int first = 0; first < ranks; ++first) {
    int r = first;
    while (r >= 0 && seen[std::size_t(r)] < 0) seen[std::size_t(r)] = first, r = next[std::size_t(r)];
    if (r < 0 || seen[std::size_t(r)] != first) continue;
    std::vector<int> circle;
    for (int q = r; circle.empty() || q != r; q = next[std::size_t(q)]) circle.push_back(q);
    std::rotate(circle.begin(), std::min_element(circle.begin(), circle.end()), circle.end());
    return circle;
  }
  return {};
}

}  // namespace simulated_detail

inline std::string deadlock_report::text() const {
  using entrain::detail::text;
  namespace sd = simulated_detail;
  std::string out = text("at t = ", time, " s ", waiting.size(), waiting.size() == 1 ? " rank waits" : " ranks wait",
                         " and nothing can wake ", waiting.size() == 1 ? "it" : "them");
  if (!cycle.empty())
    out += text("; a cycle: ", sd::listed(cycle, " -> ", [](int r) { return text("rank ", r); }), " -> rank ", cycle.front());
  if (!crashed.empty())
    out += "; " + sd::listed(crashed, ", ", [](const crashed_rank& c) { return text("rank ", c.rank, " crashed at t = ", c.time, " s"); });
  if (!returned.empty()) out += text("; returned: rank ", sd::listed(returned));
  return out + "; " + sd::listed(waiting, "; ", sd::text_of);
}

}  // namespace entrain::comm
