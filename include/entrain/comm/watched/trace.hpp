// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/watched.hpp>
#include <entrain/comm/watched/report.hpp>
#include <entrain/core/error.hpp>
#include <entrain/monitor/chrome_trace.hpp>

// The last operations of all ranks as a timeline:
//
//   comm::write_trace(safe, "run.json");     // all ranks; rank 0 writes; open it in https://ui.perfetto.dev
//
// Clocks of different machines are aligned to rank 0's by messages (Cristian 1989: the quickest of 32 round trips, whose half is the
// error that remains). An offset smaller than that error is taken for 0, so that ranks of one machine keep their common clock.

namespace entrain::comm {

namespace watched_detail {

inline constexpr int clock_tag = first_internal_tag + 48, events_tag = clock_tag + 1;

// This rank's clock minus rank 0's, in nanoseconds. All ranks call it.
template <class C>
std::int64_t clock_offset(C& c) {
  constexpr int tries = 32;
  std::array<std::int64_t, 1> other{}, mine{};
  std::int64_t offset = 0;
  if (c.rank() == 0) {
    for (int peer = 1; peer < c.size(); ++peer) {
      std::int64_t best = 0, shortest = -1;
      for (int i = 0; i < tries; ++i) {
        const auto before = monitor::steady_nanoseconds();
        c.start_send(view<const std::int64_t>(mine.data(), 1), peer, clock_tag).wait();
        c.start_receive(view<std::int64_t>(other.data(), 1), peer, clock_tag).wait();
        const auto after = monitor::steady_nanoseconds();
        if (shortest < 0 || after - before < shortest) shortest = after - before, best = other[0] - (before + (after - before) / 2);
      }
      mine[0] = std::abs(best) <= shortest / 2 ? 0 : best;
      c.start_send(view<const std::int64_t>(mine.data(), 1), peer, clock_tag).wait();
    }
  } else {
    for (int i = 0; i < tries; ++i) {
      c.start_receive(view<std::int64_t>(other.data(), 1), 0, clock_tag).wait();
      mine[0] = monitor::steady_nanoseconds();
      c.start_send(view<const std::int64_t>(mine.data(), 1), 0, clock_tag).wait();
    }
    c.start_receive(view<std::int64_t>(other.data(), 1), 0, clock_tag).wait();
    offset = other[0];
  }
  return offset;
}

inline std::string trace_text(std::vector<std::vector<event>>& ranks) {
  std::int64_t zero = 0;
  for (auto& events : ranks) {
    std::erase_if(events, [](const event& e) { return !e.ended(); });
    std::stable_sort(events.begin(), events.end(), [](const event& a, const event& b) { return a.start < b.start; });
    if (!events.empty() && (zero == 0 || events.front().start < zero)) zero = events.front().start;
  }
  monitor::chrome_trace trace(zero);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    for (const auto& e : ranks[rank]) {
      const bool numbered = !is_message(e);
      std::string arguments;
      append_json(arguments, e);
      trace.slice(int(rank), std::string(operation_name(e.operation)) + (numbered ? " #" + std::to_string(e.sequence) : ""), e.start,
                  e.end_time(), std::string_view(arguments).substr(1, arguments.size() - 2));
    }
  return trace.text();
}

}  // namespace watched_detail

// Writes what the rings of all ranks hold (watched_options::ring_events of each). Collective. Errors: file_error on rank 0.
template <class C>
void write_trace(watched<C>& all, const std::string& path) {
  using monitor::event;
  auto& c = all.inner();
  const traffic before = c.counters();
  auto mine = all.events().snapshot();
  const auto offset = watched_detail::clock_offset(c);
  for (auto& e : mine) {
    e.start -= offset;
    if (e.ended()) e.end = e.failed() ? e.end + offset : e.end - offset;
  }
  const auto counts = watched_detail::gather_all(c, std::uint64_t(mine.size()));
  std::vector<std::vector<event>> ranks;
  if (c.rank() == 0) {
    ranks.push_back(std::move(mine));
    for (int peer = 1; peer < c.size(); ++peer) {
      ranks.emplace_back(std::size_t(counts[std::size_t(peer)]));
      c.start_receive(view<event>(ranks.back()), peer, watched_detail::events_tag).wait();
    }
  } else {
    c.start_send(view<const event>(mine), 0, watched_detail::events_tag).wait();
  }
  comm::barrier(c);
  c.counters() = before;
  if (c.rank() == 0 && !watched_detail::write_file(path, watched_detail::trace_text(ranks)))
    throw file_error(path, "cannot write the trace");
}

}  // namespace entrain::comm
