// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <entrain/comm/traits.hpp>
#include <entrain/core/error.hpp>

// What messages cost, as a table: for a communicator, a collective, an algorithm and a number of ranks the three figures of the
// alpha-beta-gamma model, in ranges of the message's size (caches make a byte's price depend on it). `bench/run.sh calibrate`
// measures one; comm/cost_model/built_in.hpp is the one that is used without; comm/cost_model/profile_file.hpp reads and writes it.
//
// An entry may leave open what it is for: "*" stands for any communicator, any collective, any algorithm built from messages; 0 for any
// number of ranks. The closest entry is taken, see profile::find.

namespace entrain::comm {

// Seconds: for a message, for a byte sent, for a byte combined.
struct link_cost {
  double alpha = 0, beta = 0, gamma = 0;
  bool operator==(const link_cost&) const = default;
};

struct cost_range {
  std::uint64_t from_bytes = 0;  // up to where the next range begins
  link_cost cost;
  bool operator==(const cost_range&) const = default;
};

struct cost_entry {
  std::string communicator = "*";  // comm::threads::name, ...
  std::string collective = "*";    // name_of(comm::collective)
  std::string algorithm = "*";     // an algorithm's name; "native" or the name that the communicator gives to its native collectives
  int ranks = 0;
  std::vector<cost_range> ranges;  // in order of size, the first from 0

  const link_cost& at(std::uint64_t bytes) const {
    const auto past = std::upper_bound(ranges.begin(), ranges.end(), bytes, [](std::uint64_t b, const cost_range& r) { return b < r.from_bytes; });
    return (past - 1)->cost;
  }
  bool operator==(const cost_entry&) const = default;
};

class profile {
 public:
  // Errors: usage_error where two entries are for the same, ranges are out of order, or a figure is negative or no number.
  profile(std::vector<cost_entry> entries, std::string origin) : entries_(std::move(entries)), origin_(std::move(origin)) {
    std::stable_sort(entries_.begin(), entries_.end(), [](const cost_entry& a, const cost_entry& b) { return key(a) < key(b); });
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      check(entries_[i]);
      if (i > 0 && key(entries_[i - 1]) == key(entries_[i]))
        throw usage_error("comm::profile, " + origin_, "two entries for the same", "one", describe(entries_[i]) + " twice");
    }
    sign();
  }

  const std::vector<cost_entry>& entries() const { return entries_; }
  // Where it comes from: "built-in", or the path of the file.
  const std::string& origin() const { return origin_; }
  // The same for the same entries in any order, whatever their origin.
  std::uint64_t signature() const { return signature_; }

  // The entry that says most about this algorithm, or null. Entries for this collective and algorithm go first, then those for this
  // algorithm in any collective, then for any algorithm, then for any communicator; among alike ones that whose number of ranks is nearest
  // by ratio (the smaller of two). `native`: asks for the communicator's native collectives, whose general name is "native".
  const cost_entry* find(std::string_view communicator, collective kind, std::string_view algorithm, bool native, int ranks) const {
    const std::string_view any = native ? "native" : "*";
    for (const std::string_view where : {communicator, std::string_view("*")})
      for (const std::string_view how : {algorithm, any})
        for (const std::string_view what : {name_of(kind), std::string_view("*")})
          if (const cost_entry* found = nearest(where, what, how, ranks)) return found;
    return nullptr;
  }

 private:
  using key_type = std::tuple<std::string_view, std::string_view, std::string_view, int>;
  static key_type key(const cost_entry& e) { return {e.communicator, e.collective, e.algorithm, e.ranks}; }
  static std::string describe(const cost_entry& e) {
    return e.communicator + ", " + e.collective + ", " + e.algorithm + ", " + std::to_string(e.ranks) + " ranks";
  }

  const cost_entry* nearest(std::string_view where, std::string_view what, std::string_view how, int ranks) const {
    auto at = std::lower_bound(entries_.begin(), entries_.end(), key_type{where, what, how, 0}, [](const cost_entry& e, const key_type& k) { return key(e) < k; });
    const cost_entry* best = nullptr;
    double distance = 0;
    for (; at != entries_.end() && at->communicator == where && at->collective == what && at->algorithm == how; ++at) {
      const double d = at->ranks == 0 ? 1e18 : double(std::max(at->ranks, ranks)) / double(std::max(1, std::min(at->ranks, ranks)));
      if (!best || d < distance) best = &*at, distance = d;
    }
    return best;
  }

  void check(const cost_entry& e) const {
    const auto bad = [&](const char* wrong, std::string expected, std::string found) {
      throw usage_error("comm::profile, " + origin_ + ", entry for " + describe(e), wrong, std::move(expected), std::move(found));
    };
    if (e.ranks < 0) bad("a negative number of ranks", "0 (any) or more", std::to_string(e.ranks));
    if (e.ranges.empty()) bad("no ranges", "at least one", "none");
    if (e.ranges[0].from_bytes != 0) bad("no range for the smallest messages", "the first from 0 bytes", std::to_string(e.ranges[0].from_bytes));
    for (std::size_t i = 1; i < e.ranges.size(); ++i)
      if (e.ranges[i].from_bytes <= e.ranges[i - 1].from_bytes)
        bad("ranges out of order", "more than " + std::to_string(e.ranges[i - 1].from_bytes) + " bytes", std::to_string(e.ranges[i].from_bytes));
    for (const auto& r : e.ranges)
      for (const double x : {r.cost.alpha, r.cost.beta, r.cost.gamma})
        if (!(x >= 0) || !std::isfinite(x)) bad("a cost that no machine has", "seconds, 0 or more", std::to_string(x));
  }

  // FNV-1a.
  void sign() {
    signature_ = 0xcbf29ce484222325u;
    const auto byte = [&](unsigned b) { signature_ = (signature_ ^ b) * 0x100000001b3u; };
    const auto word = [&](std::uint64_t w) {
      for (int i = 0; i < 8; ++i) byte(unsigned(w >> (8 * i)) & 255u);
    };
    for (const auto& e : entries_) {
      for (const std::string* s : {&e.communicator, &e.collective, &e.algorithm}) {
        word(s->size());
        for (const char c : *s) byte(static_cast<unsigned char>(c));
      }
      word(std::uint64_t(e.ranks)), word(e.ranges.size());
      for (const auto& r : e.ranges) {
        word(r.from_bytes);
        for (const double x : {r.cost.alpha, r.cost.beta, r.cost.gamma}) word(std::bit_cast<std::uint64_t>(x + 0.0));
      }
    }
  }

  std::vector<cost_entry> entries_;  // sorted
  std::string origin_;
  std::uint64_t signature_ = 0;
};

}  // namespace entrain::comm
