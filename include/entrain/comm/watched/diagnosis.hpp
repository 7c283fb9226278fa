// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/watched/board.hpp>
#include <entrain/comm/watched/operation.hpp>

// Who is to blame, from a picture of the board: plain functions of plain data.
//
// A rank that waits points at the ranks without which its operation cannot end: those of its group that have not begun the same
// collective, or the other side of its message. Following the pointers from rank to rank ends at ranks that wait for nobody
// (they compute, sleep, have been stopped, have died, or have left): these are missing. Where it ends nowhere, the ranks wait for
// each other. Independently of that, calls that belong together and differ are named.

namespace entrain::comm::watched_detail {

inline constexpr std::uint32_t world_group = 1;  // all ranks of the outermost comm::watched

struct finding {
  std::vector<int> guilty;  // ranks
  std::string text;         // one sentence without a full stop; empty: nothing found
  explicit operator bool() const { return !text.empty(); }
};

inline const line_picture* line_of(const rank_picture& one, std::uint32_t group) {
  for (const auto& line : one.lines)
    if (line.group == group) return &line;
  return nullptr;
}
inline const event* collective_of(const rank_picture& one, std::uint32_t group, std::uint64_t sequence) {
  for (const auto& e : one.events)
    if (!is_message(e) && e.group == group && e.sequence == sequence) return &e;
  return nullptr;
}
// The rank of the world that has rank `local` in the group; -1 if it is on another node.
inline int world_rank(const picture& p, std::uint32_t group, int local) {
  for (const auto& one : p.all)
    if (const auto* line = line_of(one, group); line && line->rank == local) return one.rank;
  return -1;
}
inline const rank_picture* picture_of(const picture& p, int rank) {
  for (const auto& one : p.all)
    if (one.rank == rank) return &one;
  return nullptr;
}
inline std::string rank_text(int rank) { return rank < 0 ? std::string("a rank of another node") : "rank " + std::to_string(rank); }

// " in the group of ranks 0, 2"; nothing for all ranks.
inline std::string group_text(const picture& p, std::uint32_t group) {
  if (group == world_group) return {};
  std::vector<int> ranks;
  for (const auto& one : p.all)
    if (line_of(one, group)) ranks.push_back(one.rank);
  return " in the group of " + ranks_text(ranks);
}

// "all_reduce #12 of 10 f32 (sum)", "receive of 5 f32 from rank 1 with tag 3"
inline std::string describe(const picture& p, const event& e) {
  if (is_message(e))
    return std::string(operation_name(e.operation)) + " of " + amount(e) + (e.operation == send_kind ? " to " : " from ") +
           rank_text(world_rank(p, e.group, e.root)) + " with tag " + std::to_string(e.tag);
  auto text = call_text(e, true);
  return text.insert(operation_name(e.operation).size(), " #" + std::to_string(e.sequence)) + group_text(p, e.group);
}

// The other half of a message, or null.
inline const event* partner_of(const rank_picture& owner, const rank_picture& other, const event& e) {
  const auto* mine = line_of(owner, e.group);
  if (!mine) return nullptr;
  for (const auto& o : other.events)
    if (is_message(o) && o.operation != e.operation && o.group == e.group && o.root == mine->rank && o.tag == e.tag && o.sequence == e.sequence)
      return &o;
  return nullptr;
}

// What the ranks called as collective `sequence` of the group, where they differ.
inline finding disagreement_in(const picture& p, std::uint32_t group, std::uint64_t sequence) {
  struct camp {
    std::vector<int> ranks;
    const event* call;
  };
  std::vector<camp> camps;
  for (const auto& one : p.all) {
    const event* call = collective_of(one, group, sequence);
    if (!call) continue;
    auto at = std::find_if(camps.begin(), camps.end(), [&](const camp& c) { return same_call(*c.call, *call); });
    if (at == camps.end()) at = camps.insert(at, {{}, call});
    at->ranks.push_back(one.rank);
  }
  if (camps.size() < 2) return {};
  std::stable_sort(camps.begin(), camps.end(), [](const camp& a, const camp& b) { return a.ranks.size() > b.ranks.size(); });
  finding out;
  const bool tie = camps[0].ranks.size() == camps[1].ranks.size();
  for (std::size_t i = 1; i < camps.size(); ++i) {
    out.text += (i > 1 ? ", " : "") + ranks_text(camps[i].ranks) + " called " + call_text(*camps[i].call, true);
    out.guilty.insert(out.guilty.end(), camps[i].ranks.begin(), camps[i].ranks.end());
  }
  if (tie) out.guilty.insert(out.guilty.end(), camps[0].ranks.begin(), camps[0].ranks.end());
  out.text += " where " + ranks_text(camps[0].ranks) + " called " + call_text(*camps[0].call, true) + ", as collective #" + std::to_string(sequence) + group_text(p, group);
  return out;
}

// The events of a rank in an order in which they are found by what both sides of a call know of it.
class call_index {
 public:
  explicit call_index(const rank_picture& one) {
    for (const auto& e : one.events)
      if (e.sequence != 0) calls_.emplace_back(key_of(one, e), &e);
    std::sort(calls_.begin(), calls_.end());
  }
  static std::uint64_t key_of(const rank_picture& one, const event& e) {
    std::uint64_t key = mix(e.group, e.sequence);
    if (!is_message(e)) return key;
    const auto* line = line_of(one, e.group);
    const int mine = line ? line->rank : -1;
    const int sender = e.operation == send_kind ? mine : e.root, receiver = e.operation == send_kind ? e.root : mine;
    return mix(mix(mix(key, std::uint64_t(sender) + 1), std::uint64_t(receiver) + 1), std::uint64_t(e.tag));
  }
  const event* find(std::uint64_t key) const {
    const auto at = std::lower_bound(calls_.begin(), calls_.end(), key, [](const auto& call, std::uint64_t k) { return call.first < k; });
    return at != calls_.end() && at->first == key ? at->second : nullptr;
  }

 private:
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    const auto h = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xbf58476d1ce4e5b9u;
    return h ^ h >> 31;
  }
  std::vector<std::pair<std::uint64_t, const event*>> calls_;
};

// The place in p.all of the next rank of the group after `at`, in a circle; `at` itself if it is alone there.
inline std::size_t neighbour(const picture& p, std::size_t at, std::uint32_t group) {
  for (std::size_t step = 1; step < p.all.size(); ++step)
    if (const auto next = (at + step) % p.all.size(); line_of(p.all[next], group)) return next;
  return at;
}
// The places of the ranks with whose calls those of `at` are compared: its neighbour in each group, and who sends to it.
inline std::vector<std::size_t> partners(const picture& p, std::size_t at) {
  std::vector<std::size_t> out;
  const auto add = [&](std::size_t place) {
    if (place != at && std::find(out.begin(), out.end(), place) == out.end()) out.push_back(place);
  };
  for (const auto& line : p.all[at].lines) add(neighbour(p, at, line.group));
  std::vector<std::pair<std::uint32_t, int>> senders;
  for (const auto& e : p.all[at].events)
    if (e.operation == receive_kind && std::find(senders.begin(), senders.end(), std::pair(e.group, e.root)) == senders.end())
      senders.emplace_back(e.group, e.root);
  for (const auto& [group, root] : senders)
    for (std::size_t place = 0; place < p.all.size(); ++place)
      if (const auto* line = line_of(p.all[place], group); line && line->rank == root) add(place);
  return out;
}

// The first call of the rank at `at` that differs from what its partners called in its place. Agreement is transitive: when
// every rank looks at its neighbour, all are compared.
inline finding disagreement_of(const picture& p, std::size_t at) {
  const auto& one = p.all[at];
  for (const auto place : partners(p, at)) {
    const auto& other = p.all[place];
    const call_index calls(other);
    for (const auto& e : one.events) {
      if (e.sequence == 0 || e.operation == send_kind) continue;
      const event* theirs = calls.find(call_index::key_of(one, e));
      if (!theirs || theirs->group != e.group || theirs->sequence != e.sequence) continue;
      if (!is_message(e) && !is_message(*theirs) && !same_call(e, *theirs)) return disagreement_in(p, e.group, e.sequence);
      if (is_message(e) && theirs->operation == send_kind &&
          (theirs->count != e.count || theirs->element_bytes != e.element_bytes || theirs->type != e.type))
        return {{other.rank, one.rank}, "rank " + std::to_string(other.rank) + " called " + describe(p, *theirs) + " where rank " +
                                            std::to_string(one.rank) + " called " + describe(p, e)};
    }
  }
  return {};
}

inline bool is_silent(const picture& p, const rank_picture& one) { return one.heard != 0 && !one.gone() && p.now - one.heard > p.silence; }

// The events that a rank waits for, oldest first.
inline std::vector<const event*> awaited(const picture& p, const rank_picture& one) {
  std::vector<const event*> out;
  if (one.gone() || one.lost || is_silent(p, one)) return out;
  for (const auto& e : one.events)
    if (e.end == event::awaited) out.push_back(&e);
  return out;
}

struct blockers {
  std::vector<int> ranks;
  bool elsewhere = false;  // ranks of the group are on other nodes
};

// The ranks without which `e` of `owner` cannot end.
inline blockers blockers_of(const picture& p, const rank_picture& owner, const event& e) {
  blockers out;
  if (is_message(e)) {
    const int peer = world_rank(p, e.group, e.root);
    if (peer < 0) out.elsewhere = true;
    else out.ranks.push_back(peer);
    return out;
  }
  std::vector<int> idle;  // have begun it, but are not in it
  int seen = 0, size = 0;
  for (const auto& one : p.all) {
    const auto* line = line_of(one, e.group);
    if (!line) continue;
    ++seen, size = line->size;
    if (one.rank == owner.rank) continue;
    const event* call = collective_of(one, e.group, e.sequence);
    if (line->begun < e.sequence) out.ranks.push_back(one.rank);
    else if (call && !call->ended() && (one.gone() || one.lost || is_silent(p, one) || one.stopped() || call->end != event::awaited)) idle.push_back(one.rank);
  }
  out.elsewhere = seen < size;
  if (out.ranks.empty()) out.ranks = idle;
  return out;
}

// Why a rank that waits for nobody does not come.
inline std::string condition_text(const picture& p, const rank_picture& one) {
  if (one.dead && one.state == presence::left_by_exception) return "was left by an exception, and its process " + std::to_string(one.process) + " has died";
  if (one.dead && one.state == presence::left) return "has left (its comm::watched was destroyed), and its process " + std::to_string(one.process) + " has ended";
  if (one.dead) return "has died: its process " + std::to_string(one.process) + " has ended without leaving";
  if (one.lost) return "cannot be heard any more: the first process of its node has ended, or the network between has failed";
  if (is_silent(p, one)) return "has fallen silent: nothing has been heard from its node for " + seconds_text(p.now - one.heard) + " (stopped, dead, or cut off)";
  if (one.state == presence::expected) return "has not yet come";
  if (one.state == presence::left_by_exception) return "was left by an exception";
  if (one.state == presence::left) return "has left: its comm::watched was destroyed " + seconds_text(p.now - one.since) + " ago";
  if (one.stopped()) return "has been stopped (SIGSTOP or a debugger): its process is " + std::to_string(one.process);
  for (const auto& line : one.lines)
    if (line.left == leaving) return "has left: it destroys its communicator" + group_text(p, line.group);
  const char* doing = one.letter == 'S' ? "sleeps, or waits for something else" : one.letter == 'D' ? "waits for a disk" : "computes";
  return std::string("has stalled: it ") + doing + " and is in no collective or message";
}

inline const event* last_completed(const rank_picture& one) {
  const event* last = nullptr;
  for (const auto& e : one.events)
    if (e.ended() && (!last || e.end_time() >= last->end_time())) last = &e;
  return last;
}

// When the rank last began or ended something; at the latest when it came or left.
inline std::int64_t last_progress(const rank_picture& one) {
  std::int64_t last = one.since;
  for (const auto& e : one.events) last = std::max({last, e.start, e.ended() ? e.end_time() : 0});
  return last;
}

struct verdict {
  finding missing;
  bool elsewhere = false;  // it may be a rank of another node
};

// Follows the pointers from `e`, for which `from` waits.
inline verdict who_is_missing(const picture& p, const rank_picture& from, const event& e) {
  verdict out;
  std::vector<int> open, known{from.rank}, missing, circle{from.rank};
  const auto follow = [&](const rank_picture& one, const event& waiting) {
    const auto next = blockers_of(p, one, waiting);
    out.elsewhere = out.elsewhere || next.elsewhere;
    for (const int rank : next.ranks)
      if (std::find(known.begin(), known.end(), rank) == known.end()) known.push_back(rank), open.push_back(rank);
  };
  follow(from, e);
  while (!open.empty()) {
    const auto* one = picture_of(p, open.back());
    open.pop_back();
    const auto waits = one->stopped() ? std::vector<const event*>{} : awaited(p, *one);
    if (waits.empty()) missing.push_back(one->rank);
    else circle.push_back(one->rank);
    for (const auto* w : waits) follow(*one, *w);
  }
  std::sort(missing.begin(), missing.end());
  std::sort(circle.begin(), circle.end());
  auto& found = out.missing;
  for (const int rank : missing) {
    const auto* one = picture_of(p, rank);
    found.text += (found.text.empty() ? "rank " : "; rank ") + std::to_string(rank) + " is missing: it " + condition_text(p, *one);
    found.guilty.push_back(rank);
  }
  if (missing.empty() && !out.elsewhere) {
    found.guilty = circle;
    found.text = circle.size() > 1 ? ranks_text(circle) + " wait for each other" : ranks_text(circle) + " does not get on, although nobody is missing";
  }
  return out;
}

// Messages of these ranks whose other half was not begun: a wrong tag, peer or group.
inline std::vector<std::string> unmatched(const picture& p) {
  std::vector<std::string> out;
  for (const auto& one : p.all)
    for (const auto& e : one.events) {
      if (!is_message(e) || e.sequence == 0 || (e.operation == receive_kind && e.ended())) continue;
      const auto* other = picture_of(p, world_rank(p, e.group, e.root));
      if (!other || partner_of(one, *other, e)) continue;
      const bool may_be_overwritten = other->written > other->events.size() && e.ended();
      if (may_be_overwritten || out.size() >= 8) continue;
      out.push_back("rank " + std::to_string(other->rank) + (e.operation == send_kind ? " has not begun to receive rank " : " has not begun to send for rank ") + std::to_string(one.rank) + "'s " +
                    describe(p, e));
    }
  return out;
}

}  // namespace entrain::comm::watched_detail
