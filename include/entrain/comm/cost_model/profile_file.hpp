// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/comm/cost_model/profile.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/json_reader.hpp>
#include <entrain/core/json_text.hpp>

// Profiles as JSON, one line an entry:
//
//   {"format": "entrain cost profile", "version": 1, "entries": [
//   {"communicator": "mpi", "collective": "all_reduce", "algorithm": "ring", "ranks": 4, "ranges": [
//     {"from_bytes": 0, "alpha": 1.5e-6, "beta": 2e-10, "gamma": 1e-10}, ...]}, ...]}
//
// Reading is strict: an unknown or missing member, a negative figure, two entries for the same or anything that is not JSON is a
// file_error that names the path and the byte, what was expected and what was found.

namespace entrain::comm {

inline std::string to_json(const profile& from) {
  std::string out = "{\"format\": \"entrain cost profile\", \"version\": 1, \"entries\": [";
  const char* between = "\n";
  for (const auto& e : from.entries()) {
    out += std::exchange(between, ",\n");
    out += "{\"communicator\": ", json::append_quoted(out, e.communicator);
    out += ", \"collective\": ", json::append_quoted(out, e.collective);
    out += ", \"algorithm\": ", json::append_quoted(out, e.algorithm);
    out += ", \"ranks\": ", json::append_number(out, e.ranks);
    out += ", \"ranges\": [";
    const char* comma = "";
    for (const auto& r : e.ranges) {
      out += std::exchange(comma, ", ");
      out += "{\"from_bytes\": ", json::append_number(out, r.from_bytes);
      out += ", \"alpha\": ", json::append_number(out, r.cost.alpha);
      out += ", \"beta\": ", json::append_number(out, r.cost.beta);
      out += ", \"gamma\": ", json::append_number(out, r.cost.gamma);
      out += "}";
    }
    out += "]}";
  }
  return out + "\n]}\n";
}

namespace cost_model_detail {

// Reads an object that has exactly the named members; read[i]() reads the value of names[i].
template <std::size_t N, class Read>
void read_members(json::reader& in, const std::string& what, const std::string_view (&names)[N], Read&& read) {
  bool seen[N] = {};
  in.object([&](const std::string& key) {
    for (std::size_t i = 0; i < N; ++i)
      if (key == names[i]) {
        seen[i] = true;
        return read(i);
      }
    std::string known;
    for (const auto name : names) known += (known.empty() ? "'" : ", '") + std::string(name) + "'";
    in.fail("unknown member of " + what, known, "'" + key + "'");
  });
  for (std::size_t i = 0; i < N; ++i)
    if (!seen[i]) in.fail("a member of " + what + " is missing", "'" + std::string(names[i]) + "'", "the end of the object");
}

inline double read_seconds(json::reader& in) {
  const char next = in.next();
  if (next == '-') in.fail("a negative cost", "seconds, 0 or more", "a minus sign");
  return in.number();
}

inline cost_range read_range(json::reader& in, const std::string& what) {
  cost_range r;
  read_members(in, "a range of " + what, {"from_bytes", "alpha", "beta", "gamma"}, [&](std::size_t i) {
    if (i == 0) r.from_bytes = in.unsigned_integer();
    else (i == 1 ? r.cost.alpha : i == 2 ? r.cost.beta : r.cost.gamma) = read_seconds(in);
  });
  return r;
}

inline bool is_collective(std::string_view name) {
  for (int k = 0; k < collective_kinds; ++k)
    if (name == name_of(collective(k))) return true;
  return name == "*";
}

inline cost_entry read_entry(json::reader& in, const std::string& what) {
  cost_entry e;
  read_members(in, what, {"communicator", "collective", "algorithm", "ranks", "ranges"}, [&](std::size_t i) {
    if (i == 0) e.communicator = in.string();
    if (i == 1) {
      in.next();
      e.collective = in.string();
      if (!is_collective(e.collective)) in.fail("no such collective, in " + what, "a collective's name or '*'", "'" + e.collective + "'");
    }
    if (i == 2) e.algorithm = in.string();
    if (i == 3) {
      const std::uint64_t ranks = in.unsigned_integer();
      if (ranks > std::uint64_t(std::numeric_limits<int>::max())) in.fail("too many ranks, in " + what, "an int", std::to_string(ranks));
      e.ranks = int(ranks);
    }
    if (i == 4) {
      in.array([&] {
        const cost_range r = read_range(in, what);
        if (e.ranges.empty() ? r.from_bytes != 0 : r.from_bytes <= e.ranges.back().from_bytes)
          in.fail("ranges out of order, in " + what, e.ranges.empty() ? "the first from 0 bytes" : "more than " + std::to_string(e.ranges.back().from_bytes) + " bytes",
                  std::to_string(r.from_bytes));
        e.ranges.push_back(r);
      });
      if (e.ranges.empty()) in.fail("no ranges, in " + what, "at least one", "none");
    }
  });
  return e;
}

}  // namespace cost_model_detail

// `path` is for messages.
inline profile profile_from_json(std::string_view text, const std::string& path) {
  json::reader in(text, path, 0, 8);
  std::vector<cost_entry> entries;
  cost_model_detail::read_members(in, "a cost profile", {"format", "version", "entries"}, [&](std::size_t i) {
    if (i == 0)
      if (const std::string format = in.string(); format != "entrain cost profile") in.fail("not a cost profile", "'entrain cost profile'", "'" + format + "'");
    if (i == 1)
      if (const auto version = in.unsigned_integer(); version != 1) in.fail("a version that is not known", "1", std::to_string(version));
    if (i == 2)
      in.array([&] {
        cost_entry e = cost_model_detail::read_entry(in, "entry " + std::to_string(entries.size()));
        for (std::size_t k = 0; k < entries.size(); ++k)
          if (entries[k].communicator == e.communicator && entries[k].collective == e.collective && entries[k].algorithm == e.algorithm && entries[k].ranks == e.ranks)
            in.fail("two entries for the same", "one for " + e.communicator + ", " + e.collective + ", " + e.algorithm + ", " + std::to_string(e.ranks) + " ranks",
                    "entries " + std::to_string(k) + " and " + std::to_string(entries.size()));
        entries.push_back(std::move(e));
      });
  });
  in.end();
  return profile(std::move(entries), path);
}

inline profile read_profile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), [](std::FILE* f) { return f ? std::fclose(f) : 0; });
  if (!file) throw file_error(path, "cannot be read as a cost profile", "a file of bench/run.sh calibrate", "none that opens");
  std::string text;
  char piece[4096];
  while (const std::size_t n = std::fread(piece, 1, sizeof piece, file.get())) {
    text.append(piece, n);
    if (text.size() > (std::size_t(1) << 26)) throw file_error(path, "too long for a cost profile", "at most 64 MiB", "more");
  }
  if (std::ferror(file.get())) throw file_error(path, "reading failed");
  return profile_from_json(text, path);
}

inline void write_profile(const profile& what, const std::string& path) {
  const std::string text = to_json(what);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file && std::fclose(file) == 0;
  if (!written || !closed) throw file_error(path, "cannot write the cost profile", std::to_string(text.size()) + " bytes", "fewer");
}

}  // namespace entrain::comm
