// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/schedule/examine.hpp>
#include <entrain/core/error.hpp>
#include <entrain/testing/detail/symbolic_values.hpp>

// The laws of an algorithm of a collective, for any algorithm: entrain::testing::check_algorithm(comm::algorithms::ring_all_reduce); throws
// entrain::error with the law, the problem and the figures when one is broken. No communicator is needed: the programs of all ranks are
// carried out together on values that remember where they come from.
//
//   1. It never hangs, even if a send completes only with its receive; both ends of a message know its size.
//   2. Regions lie inside their operands, the input is not written, and what a round sends or receives it does not also receive.
//   3. Every rank gets what the collective promises. Of a reduction: every rank's operand exactly once, in rank order if
//      keeps_order says so, and combined by the same tree on every rank (the same bits).
//   4. So it is in place, where comm/collectives.hpp allows that.
//   5. predict() gives the messages and elements that each rank sends, exactly.
//   6. predict() gives the time: with alpha, beta or gamma alone, and with all three.
//
// A law fails for one problem at a time; the message says which.

namespace entrain::testing {

struct algorithm_checks {
  std::vector<int> sizes{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 32};
  std::vector<std::size_t> counts{};  // besides 0, 1, 2 and those around the number of ranks
  std::size_t width = 4;              // bytes of an element
  bool nodes = false;                 // with every number of ranks a node that divides the size
  // The predicted time may differ by this part of the true one: 0 for a closed form that is exact. The second holds where the elements
  // cannot be shared equally by the ranks, or by the largest power of two of them.
  double time_tolerance = 0, uneven_time_tolerance = 0;
};

namespace detail {

// Elements that p ranks can share equally, and so can the largest power of two of them.
inline std::size_t shared_equally(int p) { return std::lcm(std::size_t(p), std::bit_floor(std::size_t(p))); }

class algorithm_law {
 public:
  algorithm_law(const comm::algorithm& how, const comm::problem& what, const algorithm_checks& checks) : how_(how), what_(what), checks_(checks) {}

  void check() const {
    const auto separate = carried_out(false);
    if (symbolic_values::has_in_place(what_.kind)) {
      const auto in_place = carried_out(true);
      for (int r = 0; r < what_.size; ++r)
        require(separate.result(r) == in_place.result(r), "in place, the result has the same bits", {}, text_of_rank(r));
    }
    const struct { const char* name; comm::schedule::network net; } networks[] = {
        {"alpha", {1, 0, 0}}, {"beta", {0, 1, 0}}, {"gamma", {0, 0, 1}}, {"all", {1.25, 0.375, 0.0625}}};
    for (const auto& n : networks) check_time(n.name, n.net);
  }

 private:
  void require(bool holds, const std::string& law, const std::string& expected = {}, const std::string& found = {}) const {
    if (!holds) fail(law + " does not hold", expected, found);
  }
  [[noreturn]] void fail(const std::string& what, const std::string& expected = {}, const std::string& found = {}) const {
    const auto which = entrain::detail::text(what, ", for ", comm::name_of(how_.kind), " ", how_.name, " with ", what_.size, " ranks, ", what_.count,
                                             " elements, root ", what_.root, ", ", what_.ranks_per_node, " ranks a node");
    throw error("law of algorithms", which, expected, found);
  }
  static std::string text_of_rank(int r) { return entrain::detail::text("another on rank ", r); }

  symbolic_values carried_out(bool in_place) const {
    try {
      symbolic_values values(how_, what_, in_place);
      const auto seen = comm::schedule::examine(how_, what_, {}, values, [&](comm::problem& c) { values.begin_rank(c); });
      require(seen.hangs.empty(), "never hangs", {}, seen.hangs);
      values.check_results();
      for (int r = 0; r < what_.size; ++r) check_counts(values.problem_of(r), seen.sent[std::size_t(r)]);
      return values;
    } catch (const broken_law& b) {
      fail((in_place ? "in place: " : "") + b.what, b.expected, b.found);
    } catch (const usage_error& e) {
      fail(e.what());
    }
  }

  void check_counts(const comm::problem& c, const comm::cost& sent) const {
    const auto k = how_.predict(c);
    const auto line = [&](std::uint64_t messages, std::uint64_t elements) {
      return entrain::detail::text(messages, " messages, ", elements, " elements from rank ", c.rank);
    };
    const bool same = k.messages == sent.messages && k.elements == sent.elements;
    require(same, "predicts what is sent", line(sent.messages, sent.elements), line(k.messages, k.elements));
  }

  // Every rank predicts the same time, or ranks would choose differently; all_to_all_v alone knows only its own part and bounds from it.
  void check_time(const char* name, const comm::schedule::network& net) const {
    const rank_problems problems(what_);
    const auto seen = comm::schedule::examine(how_, what_, net, comm::schedule::no_values{}, [&](comm::problem& c) { c = problems(c.rank); });
    const auto time = [&](int r) {
      const auto k = how_.predict(problems(r));
      return net.alpha * k.alphas + net.beta * k.betas + net.gamma * k.gammas;
    };
    double predicted = time(0);
    const bool variable = what_.kind == comm::collective::all_to_all_v;
    for (int r = 1; r < what_.size; ++r) {
      require(variable || time(r) == predicted, entrain::detail::text("every rank predicts the same time (", name, ")"),
              entrain::detail::text(predicted, " (rank 0)"), entrain::detail::text(time(r), " (rank ", r, ")"));
      predicted = std::max(predicted, time(r));
    }
    const bool even = !variable && what_.kind != comm::collective::all_gather_v && what_.count % shared_equally(what_.size) == 0;
    const double tolerance = 1e-9 + (even ? checks_.time_tolerance : std::max(checks_.time_tolerance, checks_.uneven_time_tolerance));
    require(std::abs(predicted - seen.time()) <= tolerance * seen.time(), entrain::detail::text("predicts the time (", name, ")"),
            entrain::detail::text(seen.time()), entrain::detail::text(predicted));
  }

  const comm::algorithm& how_;
  const comm::problem& what_;
  const algorithm_checks& checks_;
};

inline std::vector<std::size_t> counts_to_check(comm::collective kind, std::size_t p, const algorithm_checks& checks) {
  if (kind == comm::collective::barrier) return {0};
  std::vector<std::size_t> counts{0, 1, 2};
  const bool of_a_piece = kind != comm::collective::broadcast && kind != comm::collective::reduce && kind != comm::collective::all_reduce;
  if (!of_a_piece) counts.insert(counts.end(), {p - 1, p, p + 1, 2 * p + 3, 64, shared_equally(int(p))});
  else if (p <= 9) counts.insert(counts.end(), {5, p, 16});
  else counts.push_back(5);
  counts.insert(counts.end(), checks.counts.begin(), checks.counts.end());
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

inline std::vector<int> roots_to_check(comm::collective kind, int p) {
  using enum comm::collective;
  std::vector<int> roots{0};
  if (kind != broadcast && kind != reduce && kind != gather && kind != scatter) return roots;
  for (int r = 1; r < p; ++r)
    if (p <= 9 || r == 1 || r == p / 2 || r == p - 1) roots.push_back(r);
  return roots;
}

}  // namespace detail

// All laws for one problem (its rank is not looked at). counts of the variable collectives are made from count if there are none.
inline void check_algorithm(const comm::algorithm& how, const comm::problem& what, const algorithm_checks& checks = {}) {
  detail::algorithm_law(how, what, checks).check();
}

// All laws for many problems.
inline void check_algorithm(const comm::algorithm& how, const algorithm_checks& checks = {}) {
  for (const int p : checks.sizes)
    for (const std::size_t n : detail::counts_to_check(how.kind, std::size_t(p), checks))
      for (const int root : detail::roots_to_check(how.kind, p))
        for (int g = 1; g <= (checks.nodes ? p : 1); ++g) {
          if (p % g != 0) continue;
          const comm::problem what{.kind = how.kind, .size = p, .count = n, .width = checks.width, .root = root, .ranks_per_node = g};
          if (!how.fits || how.fits(what)) check_algorithm(how, what, checks);
        }
}

}  // namespace entrain::testing
