// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/mpi/window.hpp>
#include <entrain/comm/shared_memory/engine.hpp>
#include <entrain/comm/shared_memory/family.hpp>
#include <entrain/comm/shared_memory/foreign.hpp>
#include <entrain/comm/shared_memory/waiting.hpp>

// A group of ranks that are all on one node: its shared window, the engine that works in it, and how to wait.
//
// While a rank waits for others here, MPI must move on, too: a long message of ours may be what they wait for. So every so
// many looks MPI is asked for news (MPI_Iprobe), and while MPI is waited for, the engines are (mpi_detail::request).

namespace entrain::comm::mpi_detail {

class neighbours {
 public:
  // Collective. Null, on all ranks, if the group is spread over several nodes or has one rank, or there is no memory.
  // kin: the family of the group that this one was split from, or null.
  static std::unique_ptr<neighbours> make(MPI_Comm comm, std::shared_ptr<shared_memory::family> kin, const std::string& where) {
    MPI_Comm near = MPI_COMM_NULL;
    int ranks = 0, here = 0, rank = 0;
    MPI_Comm_size(comm, &ranks);
    MPI_Comm_rank(comm, &rank);
    if (ranks == 1 || MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &near) != MPI_SUCCESS) return nullptr;
    MPI_Comm_size(near, &here);
    MPI_Comm_free(&near);
    if (here < ranks) return nullptr;  // then it is so on every rank: being on one node is an equivalence
    if (!kin) kin = std::make_shared<shared_memory::family>(ranks > cores_of_all(comm));
    const auto form = shared_memory::shape{};
    window memory(comm, form.bytes());
    if (!memory) return nullptr;
    shared_memory::segment::construct(memory.parts()[std::size_t(rank)].base, form);
    MPI_Barrier(comm);
    std::unique_ptr<neighbours> made(new neighbours(comm, rank, std::move(memory), form, std::move(kin), where));
    if (auto processes = processes_to_read(comm, ranks, rank); !processes.empty()) made->engine_.allow_fetching(std::move(processes));
    return made;
  }
  neighbours(const neighbours&) = delete;
  neighbours& operator=(const neighbours&) = delete;
  ~neighbours() { family_->part(engine_); }

  // Before memory that others may still read is given back, which is collective: waits until all ranks come here. False:
  // one has failed and will not; then the memory is abandoned.
  bool meet_at_end() {
    MPI_Request all;
    if (MPI_Ibarrier(comm_, &all) != MPI_SUCCESS) return false;
    shared_memory::waiting idle(family_->crowded());
    for (int done = 0; MPI_Test(&all, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done; idle.pass()) {
      if (engine_.lost_rank() >= 0) return memory_.abandon(), false;
      family_->progress();
    }
    return true;
  }
  void abandon() {
    engine_.give_up(rank_of_job_);
    memory_.abandon();
  }

  shared_memory::engine& engine() { return engine_; }
  const std::shared_ptr<shared_memory::family>& kin() const { return family_; }

  void wait(const shared_memory::operation& op) {
    shared_memory::waiting idle(family_->crowded());
    while (!op.done) {
      if (engine_.progress()) idle.progressed();
      else if (idle.pass()) {
        if (const int lost = engine_.lost_rank(); lost >= 0 && !engine_.progress()) engine_.raise_lost(lost);
        family_->progress();
        int waiting = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &waiting, MPI_STATUS_IGNORE);
      }
    }
  }

 private:
  neighbours(MPI_Comm comm, int rank, window memory, const shared_memory::shape& form, std::shared_ptr<shared_memory::family> kin,
             const std::string& where)
      : comm_(comm), memory_(std::move(memory)), family_(std::move(kin)),
        engine_(rank, bases(memory_), form, shared_memory::cutting_for(memory_.parts().size()), where) {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_of_job_);
    family_->join(engine_);
  }
  // The processes of all ranks, if each can read the memory of all others; else nothing.
  static std::vector<int> processes_to_read(MPI_Comm comm, int ranks, int rank) {
    struct offer {
      long long process, word, address;
    };
    const long long word = 0x656e747261696e00 + rank;
    const offer mine{shared_memory::own_process(), word, static_cast<long long>(reinterpret_cast<std::uintptr_t>(&word))};
    std::vector<offer> all(static_cast<std::size_t>(ranks));
    MPI_Allgather(&mine, 3, MPI_LONG_LONG, all.data(), 3, MPI_LONG_LONG, comm);
    int able = 1;
    std::vector<int> processes;
    for (const offer& one : all) {
      long long seen = 0;
      const int why = shared_memory::read_foreign(int(one.process), std::uint64_t(one.address), reinterpret_cast<std::byte*>(&seen), sizeof seen);
      if (why != 0 || seen != one.word) able = 0;
      processes.push_back(int(one.process));
    }
    MPI_Allreduce(MPI_IN_PLACE, &able, 1, MPI_INT, MPI_MIN, comm);  // also: nobody leaves, and his word with him, before all have read
    if (!able) processes.clear();
    return processes;
  }
  // The ranks may be bound to a core each: what counts is how many cores they have together.
  static int cores_of_all(MPI_Comm comm) {
    auto cores = shared_memory::own_cores();
    MPI_Allreduce(MPI_IN_PLACE, cores.data(), int(cores.size()), MPI_UINT64_T, MPI_BOR, comm);
    return shared_memory::count_of(cores);
  }
  static std::vector<std::byte*> bases(const window& memory) {
    std::vector<std::byte*> out;
    for (const auto& part : memory.parts()) out.push_back(part.base);
    return out;
  }

  MPI_Comm comm_;  // the group's
  int rank_of_job_ = 0;
  window memory_;
  std::shared_ptr<shared_memory::family> family_;
  shared_memory::engine engine_;
};

}  // namespace entrain::comm::mpi_detail
