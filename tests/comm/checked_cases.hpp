// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/collectives.hpp>

// What comm::checked promises, as functions of one rank that run over any communicator (threads in tests/comm, MPI in
// tests/mpi). They return text instead of asserting, because an assertion on one of several threads is not safe.

namespace checked_cases {

using namespace entrain;

inline constexpr std::chrono::milliseconds patience{400};

// Runs what shall fail; its message.
template <class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const communication_error& e) {
    return e.what();
  }
  return "no error";
}

template <class C>
void sum_together(C& comm, std::size_t n = 10) {
  std::vector<float> data(n, 1.0f);
  comm::all_reduce(comm, data, data, comm::sum{});
}

// All collectives through the wrapper give what they should; "" or what is wrong.
template <class C>
std::string agreeing(C& inner) {
  comm::checked comm{inner};
  const int rank = comm.rank(), ranks = comm.size();
  const auto n = std::size_t(ranks);
  std::vector<int> mine{rank, 7}, all(2 * n), expected;
  for (int r = 0; r < ranks; ++r) expected.insert(expected.end(), {r, 7});
  comm::all_gather(comm, mine, all);
  if (all != expected) return "all_gather";
  std::vector<int> piece(2), reduced(2 * n);
  comm::reduce_scatter(comm, all, piece, comm::sum{});
  if (piece != std::vector<int>{ranks * rank, ranks * 7}) return "reduce_scatter";
  comm::reduce(comm, all, reduced, comm::maximum{}, 0);
  if (rank == 0 && reduced != expected) return "reduce";
  std::vector<int> from_root(2);
  comm::scatter(comm, all, from_root, ranks - 1);
  if (from_root != mine) return "scatter";
  std::vector<int> gathered(2 * n);
  comm::gather(comm, mine, gathered, ranks - 1);
  if (rank == ranks - 1 && gathered != expected) return "gather";
  std::vector<int> turned(2 * n);
  comm::all_to_all(comm, all, turned);
  for (std::size_t i = 0; i < n; ++i)
    if (turned[2 * i] != rank) return "all_to_all";
  std::vector<std::size_t> counts;
  std::vector<int> uneven, own(std::size_t(rank), rank);
  for (int r = 0; r < ranks; ++r) counts.push_back(std::size_t(r)), uneven.insert(uneven.end(), std::size_t(r), r);
  std::vector<int> together(uneven.size());
  comm::all_gather_v(comm, own, together, counts);
  if (together != uneven) return "all_gather_v";
  std::vector<int> got(uneven.size()), outgoing(n * std::size_t(rank), rank);
  comm::all_to_all_v(comm, outgoing, std::vector<std::size_t>(n, std::size_t(rank)), got, counts);
  if (got != uneven) return "all_to_all_v";
  int word = rank == 0 ? 42 : 0;
  comm::broadcast(comm, view<int>(&word, 1), 0);
  if (word != 42) return "broadcast";
  comm::barrier(comm);
  auto part = comm.split(rank % 2, rank);
  int sum = 1;
  comm::all_reduce(part, view<int>(&sum, 1), comm::sum{});
  if (sum != part.size()) return "split";
  auto pending = comm::start_all_reduce(comm, mine, mine, comm::sum{});
  int token = rank, received = -1;
  auto incoming = comm::start_receive(comm, view<int>(&received, 1), (rank + ranks - 1) % ranks, 4);
  comm::send(comm, view<int>(&token, 1), (rank + 1) % ranks, 4);
  incoming.wait();
  while (!pending.test()) {
  }
  if (received != (rank + ranks - 1) % ranks || mine[1] != 7 * ranks) return "nonblocking";
  return comm.counters().collectives == 11 && comm.counters().messages == 1 ? "" : "counters";
}

// The last rank does otherwise than the rest; the message that each rank gets.
template <class C>
std::string disagreeing(C& inner, const std::string& how) {
  comm::checked comm{inner, {.deadline = patience}};
  const bool odd = comm.rank() == comm.size() - 1;
  sum_together(comm);
  std::vector<float> data(10);
  std::vector<bfloat16> halves(10);
  std::vector<std::size_t> counts(std::size_t(comm.size()), 1);
  return message_of([&] {
    if (how == "operation") odd ? comm::broadcast(comm, data, 0) : sum_together(comm);
    if (how == "count") sum_together(comm, odd ? 11 : 10);
    if (how == "type") odd ? comm::all_reduce(comm, halves, halves, comm::sum{}) : sum_together(comm);
    if (how == "root") comm::broadcast(comm, data, odd ? 0 : 1);
    if (how == "reduction") odd ? comm::all_reduce(comm, data, data, comm::maximum{}) : sum_together(comm);
    if (how == "split") odd ? static_cast<void>(comm.split(0, 0)) : comm::barrier(comm);
    if (how == "missing" && !odd) sum_together(comm);
    if (how == "receive" && odd) comm.receive(view<float>(data), 0, 9);
    if (how == "pieces") {
      std::vector<float> some(counts.size() + 1), own(odd ? 2 : 1);
      counts.back() += 1;
      if (odd) comm::all_gather_v(comm, own, some, counts);
      else counts.front() += 1, counts.back() -= 1, own.resize(comm.rank() == 0 ? 2 : 1), comm::all_gather_v(comm, own, some, counts);
    }
    if (how == "twice") {
      if (message_of([&] { sum_together(comm, odd ? 1 : 2); }) != "no error") comm::barrier(comm);
    }
  });
}

// "ranks 0, 1" for all but the last of `ranks`.
inline std::string others(int ranks) {
  std::string out = ranks == 2 ? "rank 0" : "ranks 0";
  for (int r = 1; r + 1 < ranks; ++r) out += ", " + std::to_string(r);
  return out;
}

// What `disagreeing` must say on `rank`; "" where it does not matter.
inline std::string expected(const std::string& how, int rank, int ranks) {
  const bool odd = rank == ranks - 1;
  const std::string last = "rank " + std::to_string(ranks - 1), rest = others(ranks);
  const auto disagreement = [&](const std::string& call, const std::string& odd_call) {
    const auto& own = odd ? odd_call : call;
    const auto where = "checked " + own.substr(0, own.find(' ')) + " #2: ";
    return where + last + " called " + odd_call + " where " + rest + " called " + call;
  };
  if (how == "operation") return disagreement("all_reduce of 10 f32", "broadcast of 10 f32");
  if (how == "count") return disagreement("all_reduce of 10 f32", "all_reduce of 11 f32");
  if (how == "type") return disagreement("all_reduce of 10 f32", "all_reduce of 10 bf16");
  if (how == "root") return disagreement("broadcast of 10 f32 with root 1", "broadcast of 10 f32 with root 0");
  if (how == "reduction") return disagreement("all_reduce of 10 f32 (sum)", "all_reduce of 10 f32 (maximum)");
  if (how == "split") return disagreement("barrier", "split");
  if (how == "missing")
    return odd ? "no error"
               : "checked all_reduce #2: " + last + " did not arrive within 400 ms; it was last seen in all_reduce of 10 f32 #1";
  if (how == "receive" && !odd) return "no error";
  if (how == "receive")
    return "checked " + last + " of " + std::to_string(ranks) + ": receive of 10 f32"
                                                         " from rank 0 with tag 9 did not complete within 400 ms";
  if (how == "twice") return "checked barrier #3: this communicator has failed before";
  return "";
}

inline const std::vector<std::string> all_ways{"operation", "count", "type", "root", "reduction",
                                               "split",     "missing", "receive", "twice", "pieces"};

}  // namespace checked_cases
