// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>
#include <vector>

#include <entrain/comm/simulated/options.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>

// Messages between virtual ranks, and the wires that carry them: which transfer begins when, and when it ends.
//
// A transfer begins when both ends have been started and all ports it needs are free. Of several that could begin at the
// same time, the one that has been ready for longest does (then by sender, and in the order in which that one started its
// sends), so the order is a function of virtual times alone.

namespace entrain::comm::simulated_detail {

inline constexpr double never = std::numeric_limits<double>::infinity();

struct transfer;

// One end of a message. Belongs to the pool of the rank that started it.
struct operation {
  enum class outcome : std::uint8_t { waiting, complete, mismatch };

  int group = 0, from = 0, to = 0, tag = 0;  // ranks of the job
  bool sends = false;
  outcome result = outcome::waiting;
  dtype type = dtype::bytes, other_type = dtype::bytes;
  const void* source = nullptr;
  void* target = nullptr;
  std::size_t bytes = 0, other_bytes = 0;
  double posted = 0, completed = 0;
  std::uint64_t number = 0;                            // of a send, among those of its rank
  double extra_latency = 0;                            // of a send: injected
  bool drop = false, lost = false, abandoned = false;  // drop: of a send; lost: of a receive that will never complete
  int exceptions = 0;                                  // in flight in its thread when it was started
  std::uint64_t polled = 0, excused = 0;               // see simulation::test
  transfer* carrier = nullptr;                         // once both ends have met, until it ends
  operation *previous = nullptr, *next = nullptr;      // in a list of those that have not met
  bool linked = false;

  int owner() const { return sends ? from : to; }
  bool is_complete() const { return result != outcome::waiting; }
};

struct operation_list {
  operation *first = nullptr, *last = nullptr;
  void append(operation& op) {
    op.previous = last, op.next = nullptr, op.linked = true;
    (last ? last->next : first) = &op;
    last = &op;
  }
  void remove(operation& op) {
    (op.previous ? op.previous->next : first) = op.next;
    (op.next ? op.next->previous : last) = op.previous;
    op.previous = op.next = nullptr, op.linked = false;
  }
};

struct transfer {
  operation *send = nullptr, *receive = nullptr;  // null when it has been given up
  int from = 0, to = 0;
  double ready = 0, latency = 0, streaming = 0, end = 0;
  std::uint64_t number = 0;  // of the send
};

class wires {
 public:
  wires(int ranks, const simulation_options& options)
      : network_(options.network), record_(options.record_transfers), out_(std::size_t(ranks)), in_(std::size_t(ranks)) {
    if (!network_.between) throw usage_error("comm::simulate", "the network has no function `between`");
    if (network_.ranks_per_node < 1)
      throw usage_error("comm::simulate", "wrong ranks_per_node of the network", "at least 1", entrain::detail::text(network_.ranks_per_node));
    if (network_.shared_port) card_out_.resize(std::size_t(ranks)), card_in_.resize(std::size_t(ranks));
  }

  // Both ends have been started.
  void add(operation& send, operation& receive) {
    if (free_.empty()) free_.push_back(&store_.emplace_back());
    transfer& t = *free_.back();
    free_.pop_back();
    t = {.send = &send, .receive = &receive, .from = send.from, .to = send.to, .ready = std::max(send.posted, receive.posted), .number = send.number};
    if (t.from != t.to) {
      const auto link = network_.between(t.from, t.to);
      t.latency = link.latency + send.extra_latency;
      t.streaming = link.seconds_per_byte * double(send.bytes);
      if (!(t.latency >= 0) || !(t.streaming >= 0) || !std::isfinite(t.latency + t.streaming))
        throw usage_error("comm::simulate", entrain::detail::text("the network gives a link from rank ", t.from, " to rank ", t.to, " that cannot be"),
                          "finite latency and seconds_per_byte of at least 0", entrain::detail::text(link.latency, " and ", link.seconds_per_byte));
    }
    send.carrier = receive.carrier = &t;
    pending_.push({t.ready, &t});
  }

  // When the next transfer can begin.
  double next_begin() {
    while (!pending_.empty()) {
      const auto [time, t] = pending_.top();
      const double earliest = t->send ? earliest_begin(*t) : time;
      if (t->send && earliest <= time) return time;
      pending_.pop();
      if (t->send) pending_.push({earliest, t});  // a port was taken since; keys only grow, so the top is always a lower bound
      else free_.push_back(t);
    }
    return never;
  }
  void begin(simulation_report& report) {
    const auto [time, t] = pending_.top();
    pending_.pop();
    t->end = time + (t->latency + t->streaming);
    if (t->from != t->to) occupy(*t, time, report);
    active_.push({t->end, t});
    if (record_)
      report.transfers.push_back({t->from, t->to, t->send->tag, t->send->bytes, t->ready, time, t->end, t->send->drop});
  }

  double next_end() const { return active_.empty() ? never : active_.top().time; }
  // The transfer that ends next. It is valid until the next add(). Its ends are null when it was given up on the way.
  transfer& end() {
    transfer& t = *active_.top().what;
    active_.pop();
    free_.push_back(&t);
    return t;
  }

  // One end is going away: the other waits for ever.
  static void abandon(operation& op) {
    transfer& t = *op.carrier;
    operation& other = op.sends ? *t.receive : *t.send;
    other.abandoned = true;
    t.send->carrier = t.receive->carrier = nullptr;
    t.send = t.receive = nullptr;
  }

 private:
  struct event {
    double time = 0;
    transfer* what = nullptr;
    auto key() const { return std::tuple(time, what->ready, what->from, what->number); }
    bool operator>(const event& other) const { return key() > other.key(); }
  };
  using queue = std::priority_queue<event, std::vector<event>, std::greater<>>;

  bool uses_cards(const transfer& t) const {
    return network_.shared_port && t.from / network_.ranks_per_node != t.to / network_.ranks_per_node;
  }
  double& card(std::vector<double>& cards, int rank) { return cards[std::size_t(rank / network_.ranks_per_node)]; }

  double earliest_begin(const transfer& t) {
    if (t.from == t.to) return t.ready;
    double time = std::max({t.ready, out_[std::size_t(t.from)], in_[std::size_t(t.to)]});
    if (uses_cards(t)) time = std::max({time, card(card_out_, t.from), card(card_in_, t.to)});
    return time;
  }
  void occupy(const transfer& t, double time, simulation_report& report) {
    out_[std::size_t(t.from)] = in_[std::size_t(t.to)] = t.end;
    if (uses_cards(t)) card(card_out_, t.from) = card(card_in_, t.to) = time + t.streaming;
    auto& sender = report.ranks[std::size_t(t.from)];
    ++sender.messages, ++report.messages;
    sender.bytes += t.send->bytes, report.bytes += t.send->bytes;
    sender.send_busy += t.latency + t.streaming;
    report.ranks[std::size_t(t.to)].receive_busy += t.latency + t.streaming;
  }

  const network network_;
  const bool record_;
  std::vector<double> out_, in_, card_out_, card_in_;  // until when each port is taken
  std::deque<transfer> store_;
  std::vector<transfer*> free_;
  queue pending_, active_;
};

}  // namespace entrain::comm::simulated_detail
