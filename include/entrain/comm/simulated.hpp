// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/simulated/deadlock.hpp>
#include <entrain/comm/simulated/network.hpp>
#include <entrain/comm/simulated/options.hpp>
#include <entrain/comm/simulated/simulation.hpp>

// Hundreds of virtual ranks in one process, with a virtual clock:
//
//   const comm::simulation_report report = comm::simulate(256, {.network = comm::network::uniform(2e-6, 12e9)}, [](comm::simulated& world) {
//     std::vector<float> gradient(1 << 20);
//     world.advance(3e-3);                  // seconds of computation
//     comm::all_reduce(world, gradient);    // the same algorithms, messages and bytes as on real wires
//   });
//   report.finish;                          // virtual seconds
//
// Only messages are native; every collective is built from them by comm/algorithms/, so programs and trainers run unchanged;
// world.use(comm::algorithms::ring_all_reduce) says by which.
// Each rank is a thread, but one runs at a time, and what it sees depends on virtual time alone: results, times and faults
// are the same on every run and host. Model of the wires: comm/simulated/network.hpp.
//
// Messages are a rendezvous: both ends complete when the bytes have passed. Computing and communicating overlap perfectly:
// a transfer needs no help of the ranks. What the program computes for real takes no virtual time; charge it with advance().
// test(): the first look at an incomplete request is free; looking again with nothing done in between lets time go on until
// some operation of this rank completes.
//
// Throws: the exception of the first rank that failed; deadlock_error when all ranks that are left wait for what cannot come;
// usage_error from a request whose two ends differ in size or type. All threads have ended when simulate returns or throws.
// Cost: a few microseconds of real time for each time that a rank has to wait.

namespace entrain::comm {

class simulated {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "simulated";

  class request {
   public:
    request() = default;
    request(request&& other) noexcept : job_(other.job_), operation_(std::exchange(other.operation_, nullptr)) {}
    request& operator=(request&& other) noexcept {
      std::swap(job_, other.job_);
      std::swap(operation_, other.operation_);
      return *this;
    }
    ~request() {
      if (operation_) job_->drop(*operation_);
    }
    bool test() {
      if (!operation_) return true;
      if (!job_->test(*operation_)) return false;
      finish();
      return true;
    }
    void wait() {
      if (!operation_) return;
      job_->wait(*operation_);
      finish();
    }

   private:
    friend class simulated;
    request(simulated_detail::simulation& job, simulated_detail::operation& op) : job_(&job), operation_(&op) {}
    void finish() {
      const simulated_detail::operation op = *operation_;
      job_->give_back(*std::exchange(operation_, nullptr));
      if (op.result == simulated_detail::operation::outcome::mismatch) raise_mismatch(op);
    }
    [[noreturn]] static void raise_mismatch(const simulated_detail::operation& op) {
      using entrain::detail::text;
      const auto what = [](std::size_t bytes, dtype type) { return text(bytes / size_of(type), " ", name_of(type)); };
      const auto own = what(op.bytes, op.type), other = what(op.other_bytes, op.other_type);
      throw usage_error(text("comm::simulated, message from rank ", op.from, " to rank ", op.to, " (tag ", op.tag, ")"),
                        "its ends differ in size or type", text(op.sends ? own : other, " (sent by rank ", op.from, ")"),
                        text(op.sends ? other : own, " (received by rank ", op.to, ")"));
    }

    simulated_detail::simulation* job_ = nullptr;
    simulated_detail::operation* operation_ = nullptr;
  };

  int rank() const { return self_->rank; }
  int size() const { return int(self_->where->members.size()); }
  traffic& counters() { return self_->counted; }
  std::uint64_t& sequence() { return self_->sequence; }

  // From now on collectives of this kind in this group, and in groups split from it, go by this algorithm, which must outlive
  // the job; where it does not fit, and for other kinds, by the one that the cost model prefers. All ranks must choose alike.
  void use(const algorithm& how) { self_->chosen[std::size_t(how.kind)] = &how; }
  const algorithm* chosen(collective kind) const { return self_->chosen[std::size_t(kind)]; }
  // Of the network; 1 in a part of the job, or where the last node is not full.
  int ranks_per_node() const {
    const int per_node = job_->ranks_per_node();
    return self_->where->number == 0 && size() % per_node == 0 ? per_node : 1;
  }

  template <class T>
  request start_send(view<const T> data, int peer, int tag) {
    return start({.from = member(rank()), .to = member(peer), .tag = tag, .sends = true, .type = dtype_of<T>::value, .source = data.data(), .bytes = data.size_bytes()});
  }
  template <class T>
  request start_receive(view<T> data, int peer, int tag) {
    return start({.from = member(peer), .to = member(rank()), .tag = tag, .type = dtype_of<T>::value, .target = data.data(), .bytes = data.size_bytes()});
  }

  // Free of charge; all ranks leave it at the time when the last comes.
  simulated split(int colour, int key) {
    auto [part, position] = job_->split(*self_->where, rank(), self_->splits++, colour, key);
    simulated made(*job_, std::move(part), position);
    made.self_->chosen = self_->chosen;
    return made;
  }

  // Virtual seconds since the start, of this rank.
  double now() const { return job_->now(member(rank())); }
  // This rank computes for so long.
  void advance(double seconds) { job_->compute(member(rank()), seconds); }
  // This rank combines so many bytes of a reduction: simulation_options::gamma each.
  void computed(std::size_t bytes) { job_->compute_bytes(member(rank()), bytes); }

 private:
  struct handle {
    std::shared_ptr<simulated_detail::group> where;
    int rank = 0;
    std::uint64_t sequence = 0, splits = 0;
    traffic counted{};
    std::array<const algorithm*, collective_kinds> chosen{};
  };
  template <class Body>
  friend simulation_report simulate(int, const simulation_options&, Body&&);

  simulated(simulated_detail::simulation& job, std::shared_ptr<simulated_detail::group> where, int rank)
      : job_(&job), self_(std::make_shared<handle>(handle{.where = std::move(where), .rank = rank})) {}

  int member(int rank) const { return self_->where->members[std::size_t(rank)]; }
  request start(simulated_detail::operation what) {
    what.group = self_->where->number;
    return request(*job_, job_->post(what));
  }

  simulated_detail::simulation* job_;
  std::shared_ptr<handle> self_;
};

// Runs body(world) on `ranks` virtual ranks until all have returned or crashed.
template <class Body>
simulation_report simulate(int ranks, const simulation_options& options, Body&& body) {
  simulated_detail::simulation job(ranks, options);
  return job.run([&](int rank) {
    simulated world(job, job.everyone(), rank);
    body(world);
  });
}
template <class Body>
simulation_report simulate(int ranks, Body&& body) {
  return simulate(ranks, simulation_options{}, body);
}

}  // namespace entrain::comm
