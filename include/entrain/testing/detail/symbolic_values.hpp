// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/core/error.hpp>

// For testing/algorithm_laws.hpp: memory of all ranks whose elements remember what they are. An element is a position of an input and
// a term: a rank, or two terms combined. Terms are numbered so that equal ones have equal numbers, across ranks.

namespace entrain::testing::detail {

struct broken_law {
  std::string what, expected, found;
};

// What each rank is asked: counts of the variable collectives differ by rank, some are zero.
class rank_problems {
 public:
  explicit rank_problems(const comm::problem& what) : what_(what) {
    const auto p = std::size_t(what.size);
    if (what.kind == comm::collective::all_gather_v) {
      for (std::size_t r = 0; r < p; ++r) counts_.push_back(what.counts.empty() ? (7 * r + what.count) % (what.count + 1) : what.counts[r]);
    } else if (what.kind == comm::collective::all_to_all_v) {
      send_.resize(p), receive_.resize(p);
      for (std::size_t r = 0; r < p; ++r)
        for (std::size_t q = 0; q < p; ++q) send_[r].push_back(between(r, q)), receive_[r].push_back(between(q, r));
    }
  }
  comm::problem operator()(int rank) const {
    comm::problem c = what_;
    c.rank = rank;
    if (!counts_.empty()) c.counts = counts_;
    if (!send_.empty()) c.counts = send_[std::size_t(rank)], c.receive_counts = receive_[std::size_t(rank)];
    return c;
  }

 private:
  std::size_t between(std::size_t from, std::size_t to) const { return from % 5 == 3 ? 0 : (3 * from + 5 * to + what_.count) % (what_.count + 1); }

  comm::problem what_;
  std::vector<std::size_t> counts_;
  std::vector<std::vector<std::size_t>> send_, receive_;
};

class symbolic_values {
 public:
  struct element {
    std::uint32_t at = 0;
    std::int32_t term = -1;  // none: nothing was written here
    bool operator==(const element&) const = default;
  };

  static bool has_in_place(comm::collective kind) {
    using enum comm::collective;
    return kind == reduce || kind == all_reduce || kind == reduce_scatter || kind == all_gather || kind == all_gather_v || kind == scatter;
  }

  symbolic_values(const comm::algorithm& how, const comm::problem& what, bool in_place)
      : how_(how), what_(what), problem_(what), in_place_(in_place), ranks_(std::size_t(what.size)) {
    for (int r = 0; r < what.size; ++r) terms_.push_back({r, r, 1, true, text(r)}), place_operands(r);
    for (int r = 0; r < what.size; ++r) knows_.push_back({}), knows_.back().resize(std::size_t(what.size)), knows_.back()[std::size_t(r)] = true;
    heard_ = knows_;
  }

  // ---- asked by schedule::examine
  void begin_rank(comm::problem& c) {
    c = problem_(c.rank);
    comm::schedule::program steps;
    how_.write(steps, c);
    auto& m = ranks_[std::size_t(c.rank)];
    m.scratch = m.memory.size();
    m.memory.resize(m.memory.size() + steps.scratch_elements());
    for (std::size_t i = 0; i < steps.steps().size(); ++i) check_step(c.rank, steps.steps(), i);
  }
  void copy(int from_rank, const comm::schedule::region& from, int to_rank, const comm::schedule::region& to) {
    const auto source = index(from_rank, from), target = index(to_rank, to);
    auto& a = ranks_[std::size_t(from_rank)].memory;
    auto& b = ranks_[std::size_t(to_rank)].memory;
    const std::vector<element> moved(a.begin() + source, a.begin() + source + std::ptrdiff_t(from.count));
    std::copy(moved.begin(), moved.end(), b.begin() + target);
    if (from_rank != to_rank)
      for (std::size_t k = 0; k < knows_.size(); ++k)
        if (knows_[std::size_t(from_rank)][k]) heard_[std::size_t(to_rank)][k] = true;
  }
  void combine(int r, const comm::schedule::region& left, const comm::schedule::region& right, const comm::schedule::region& to) {
    auto& memory = ranks_[std::size_t(r)].memory;
    for (std::size_t i = 0; i < to.count; ++i) {
      const element a = memory[std::size_t(index(r, left)) + i], b = memory[std::size_t(index(r, right)) + i];
      if (a.term < 0 || b.term < 0) fail("combines what was written before", r, "values", "memory never written");
      if (a.at != b.at) fail("combines elements of the same position", r, text(a.at), text(b.at));
      memory[std::size_t(index(r, to)) + i] = {a.at, combined(a.term, b.term)};
    }
  }
  void round(int r) { knows_[std::size_t(r)] = heard_[std::size_t(r)]; }

  // ---- afterwards
  std::vector<element> result(int r) const {
    const auto& m = ranks_[std::size_t(r)];
    return {m.memory.begin() + std::ptrdiff_t(m.out), m.memory.begin() + std::ptrdiff_t(m.out + m.out_size)};
  }
  comm::problem problem_of(int r) const { return problem_(r); }

  void check_results() const {
    using enum comm::collective;
    if (what_.kind == barrier) return check_barrier();
    for (int r = 0; r < what_.size; ++r) {
      const auto found = result(r);
      const auto wanted = expected(r);
      for (std::size_t i = 0; i < found.size(); ++i) {
        if (!reduces()) {
          if (found[i] != wanted[i]) fail(text("the result's element ", i), r, name(wanted[i]), name(found[i]));
        } else if (found[i].at != wanted[i].at || found[i].term < 0 || terms_[std::size_t(found[i].term)].ranks != what_.size) {
          fail(text("every rank's operand once, in the result's element ", i), r, text("all at position ", wanted[i].at), name(found[i]));
        } else if (how_.keeps_order && !terms_[std::size_t(found[i].term)].ordered) {
          fail(text("operands meet in rank order, in the result's element ", i), r, "ranks in order", name(found[i]));
        } else if (what_.kind == all_reduce && found[i] != result(0)[i]) {
          fail(text("the same tree on every rank, in the result's element ", i), r, name(result(0)[i]), name(found[i]));
        }
      }
    }
  }

 private:
  struct rank_memory {
    std::vector<element> memory;
    std::size_t in = 0, in_size = 0, out = 0, out_size = 0, scratch = 0;
  };
  struct term {
    int first, last, ranks;  // lowest and highest rank in it, and how many
    bool ordered;
    std::string name;
    std::vector<bool> members{};
  };

  template <class... Parts>
  static std::string text(const Parts&... parts) { return entrain::detail::text(parts...); }
  std::string name(const element& e) const { return e.term < 0 ? "memory never written" : terms_[std::size_t(e.term)].name + text(" at position ", e.at); }
  [[noreturn]] void fail(const std::string& law, int r, const std::string& expected, const std::string& found) const {
    throw broken_law{law + text(" (rank ", r, ")"), expected, found};
  }
  bool reduces() const {
    return what_.kind == comm::collective::reduce || what_.kind == comm::collective::all_reduce || what_.kind == comm::collective::reduce_scatter;
  }

  static std::size_t total(std::span<const std::size_t> counts) { return std::accumulate(counts.begin(), counts.end(), std::size_t(0)); }

  // Sizes of the operands, where the input lies in the output or the output in the input, and what the input holds.
  void place_operands(int r) {
    using enum comm::collective;
    const auto c = problem_(r);
    const auto p = std::size_t(c.size), n = c.count, mine = std::size_t(r);
    const bool root = r == c.root;
    auto& m = ranks_[mine];
    std::size_t in_at_out = 0, out_at_in = 0;
    switch (c.kind) {
      case barrier: break;
      case broadcast: m.in_size = m.out_size = n; break;
      case reduce: m.in_size = n, m.out_size = root ? n : 0; break;
      case all_reduce: m.in_size = m.out_size = n; break;
      case reduce_scatter: m.in_size = p * n, m.out_size = n, out_at_in = mine * n; break;
      case all_gather: m.in_size = n, m.out_size = p * n, in_at_out = mine * n; break;
      case all_gather_v: m.in_size = c.counts[mine], m.out_size = total(c.counts), in_at_out = total(c.counts.first(mine)); break;
      case gather: m.in_size = n, m.out_size = root ? p * n : 0; break;
      case scatter: m.in_size = root ? p * n : 0, m.out_size = n, out_at_in = mine * n; break;
      case all_to_all: m.in_size = m.out_size = p * n; break;
      case all_to_all_v: m.in_size = total(c.counts), m.out_size = total(c.receive_counts); break;
    }
    const bool shared = c.kind == broadcast || (in_place_ && (root || (c.kind != reduce && c.kind != scatter)));
    if (!shared) m.out = m.in_size;
    else if (m.out_size < m.in_size) m.out = out_at_in;
    else m.in = in_at_out;
    m.memory.resize(shared ? std::max(m.in_size, m.out_size) : m.in_size + m.out_size);
    if (c.kind == broadcast && !root) return;
    for (std::size_t i = 0; i < m.in_size; ++i) m.memory[m.in + i] = {std::uint32_t(i), r};
  }

  std::vector<element> expected(int r) const {
    using enum comm::collective;
    const auto c = problem_(r);
    std::vector<element> wanted;
    const auto add = [&](std::size_t from, std::size_t count, int source) {
      for (std::size_t i = 0; i < count; ++i) wanted.push_back({std::uint32_t(from + i), source});
    };
    const auto mine = std::size_t(r);
    const bool root = r == c.root;
    if (c.kind == broadcast) add(0, c.count, c.root);
    else if (c.kind == scatter) add(mine * c.count, c.count, c.root);
    else if (c.kind == reduce_scatter) add(mine * c.count, c.count, -1);
    else if (c.kind == all_reduce || (c.kind == reduce && root)) add(0, c.count, -1);
    else
      for (int q = 0; q < c.size; ++q) {
        const auto other = std::size_t(q);
        if (c.kind == all_gather || (c.kind == gather && root)) add(0, c.count, q);
        else if (c.kind == all_gather_v) add(0, c.counts[other], q);
        else if (c.kind == all_to_all) add(mine * c.count, c.count, q);
        else if (c.kind == all_to_all_v) add(total(problem_(q).counts.first(mine)), c.receive_counts[other], q);
      }
    return wanted;
  }

  void check_barrier() const {
    for (int r = 0; r < what_.size; ++r)
      for (int q = 0; q < what_.size; ++q)
        if (!heard_[std::size_t(r)][std::size_t(q)]) fail("no rank leaves before all have entered", r, "heard of every rank", text("not of rank ", q));
  }

  std::ptrdiff_t index(int r, const comm::schedule::region& where) const {
    const auto& m = ranks_[std::size_t(r)];
    using comm::schedule::place;
    return std::ptrdiff_t((where.where == place::in ? m.in : where.where == place::out ? m.out : m.scratch) + where.offset);
  }
  bool overlap(int r, const comm::schedule::region& a, const comm::schedule::region& b) const {
    const auto x = index(r, a), y = index(r, b);
    return a.count > 0 && b.count > 0 && x < y + std::ptrdiff_t(b.count) && y < x + std::ptrdiff_t(a.count);
  }

  void check_step(int r, std::span<const comm::schedule::step> steps, std::size_t i) const {
    using comm::schedule::step;
    using comm::schedule::place;
    const auto is_message = [](const step& s) { return s.what == step::kind::send || s.what == step::kind::receive; };
    const step& s = steps[i];
    const auto& m = ranks_[std::size_t(r)];
    for (const auto* region : {&s.from, &s.second, &s.to}) {
      if (region->count == 0) continue;
      const std::size_t size = region->where == place::in ? m.in_size : region->where == place::out ? m.out_size : m.memory.size() - m.scratch;
      if (region->count > size || region->offset > size - region->count)
        fail(text("regions lie inside their operands (step ", i, ")"), r, text("at most ", size), text(region->offset, " + ", region->count));
    }
    if (s.to.count > 0 && s.to.where == place::in) fail(text("the input is not written (step ", i, ")"), r, {}, {});
    if (!is_message(s)) {
      if (s.from.count != s.to.count || (s.what == step::kind::combine && s.second.count != s.to.count))
        fail(text("local work has operands of one size (step ", i, ")"), r, text(s.to.count), text(s.from.count, " and ", s.second.count));
      if (s.what == step::kind::combine)
        for (const auto* operand : {&s.from, &s.second})
          if (overlap(r, *operand, s.to) && index(r, *operand) != index(r, s.to))
            fail(text("what is combined does not overlap in part (step ", i, ")"), r, {}, {});
      return;
    }
    if (s.peer < 0 || s.peer >= what_.size || s.peer == r) fail(text("messages go to another rank (step ", i, ")"), r, {}, text(s.peer));
    for (std::size_t k = i + 1; k < steps.size() && is_message(steps[k]) && !steps[k].begins_round; ++k)
      if (overlap(r, s.from, steps[k].to) || overlap(r, s.to, steps[k].from) || overlap(r, s.to, steps[k].to))
        fail(text("what a round sends or receives it does not also receive (steps ", i, " and ", k, ")"), r, {}, {});
  }

  std::int32_t combined(std::int32_t a, std::int32_t b) {
    const auto known = numbers_.find({a, b});
    if (known != numbers_.end()) return known->second;
    const auto members = [&](std::int32_t t) {
      std::vector<bool> ranks = terms_[std::size_t(t)].members;
      if (ranks.empty()) ranks.resize(std::size_t(what_.size)), ranks[std::size_t(t)] = true;
      return ranks;
    };
    auto all = members(a);
    const auto more = members(b);
    const term &l = terms_[std::size_t(a)], &r = terms_[std::size_t(b)];
    for (std::size_t k = 0; k < all.size(); ++k) {
      if (all[k] && more[k]) throw broken_law{"every rank's operand once", text("rank ", k, " once"), "(" + l.name + "+" + r.name + ")"};
      if (more[k]) all[k] = true;
    }
    terms_.push_back({std::min(l.first, r.first), std::max(l.last, r.last), l.ranks + r.ranks, l.ordered && r.ordered && l.last < r.first,
                      "(" + l.name + "+" + r.name + ")", std::move(all)});
    return numbers_[{a, b}] = std::int32_t(terms_.size() - 1);
  }

  const comm::algorithm& how_;
  comm::problem what_;
  rank_problems problem_;
  bool in_place_;
  std::vector<rank_memory> ranks_;
  std::vector<term> terms_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int32_t> numbers_;
  std::vector<std::vector<bool>> knows_, heard_;  // which ranks' entry a rank knew of when its round began, and knows now
};

}  // namespace entrain::testing::detail
