// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda_runtime_api.h"

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

// NCCL emulated among threads of one process, as far as the library calls it, with its rules for communicators that do not block: a
// call may only begin (ncclInProgress), and the next one is an error until ncclCommGetAsyncError says that it has come to an end; what
// is given together (ncclGroupStart ... End) runs together, in the order of the stream, when the partners' work has come there, too;
// so messages that are not grouped lock up here as they do there. faults() provokes what goes wrong.

enum ncclResult_t { ncclSuccess = 0, ncclUnhandledCudaError, ncclSystemError, ncclInternalError, ncclInvalidArgument, ncclInvalidUsage, ncclRemoteError, ncclInProgress };
enum ncclRedOp_t { ncclSum, ncclProd, ncclMax, ncclMin };
enum ncclDataType_t { ncclInt8, ncclUint8, ncclInt32, ncclUint32, ncclInt64, ncclUint64, ncclFloat16, ncclFloat32, ncclFloat64, ncclBfloat16 };
struct ncclUniqueId { char internal[128]; };
struct ncclConfig_t { int blocking; };
#define NCCL_CONFIG_INITIALIZER { 1 }
#define NCCL_VERSION_CODE 22809

namespace entrain::emulated {

struct nccl_faults {
  std::atomic<bool> never_complete = false;            // what is launched stays under way
  std::atomic<int> asynchronous = ncclSuccess;         // what ncclCommGetAsyncError finds
  std::atomic<int> slow_launches = 0;                  // polls until a launch is through
  std::atomic<int> aborted = 0, destroyed = 0, groups = 0;  // counted
};
inline nccl_faults& faults() {
  static nccl_faults all;
  return all;
}

struct nccl_call {
  enum { all_reduce, reduce, broadcast, all_gather, reduce_scatter, send, receive } what;
  const void* in;
  void* out;
  std::size_t count;
  ncclDataType_t type;
  ncclRedOp_t op;
  int peer;
  std::uint64_t number = 0;  // of the collectives, or of the messages to or from this peer
  bool done = false;
};
struct nccl_group final : work {
  std::vector<nccl_call> calls;
  std::atomic<bool> finished = false;
  bool done() override { return finished; }
};

inline std::size_t width_of(ncclDataType_t t) {
  constexpr std::size_t widths[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
  return widths[t];
}

// What the ranks of one communicator share.
struct nccl_clique {
  struct member {
    bool here = false, gone = false;
    std::deque<std::shared_ptr<nccl_group>> queue;  // of its stream
    std::uint64_t collectives = 0;
    std::map<int, std::uint64_t> sent, received;
  };
  explicit nccl_clique(int size) : members(std::size_t(size)) {}
  std::mutex lock;
  std::vector<member> members;
  std::map<std::pair<std::uint64_t, int>, std::shared_ptr<nccl_clique>> parts;                // split number, colour
  std::map<std::uint64_t, std::vector<std::tuple<int, int, int>>> splits;                     // split number: colour, key, rank
  bool mismatch = false;

  bool all_here() {
    const std::lock_guard guard(lock);
    for (const auto& m : members)
      if (!m.here) return false;
    return true;
  }
  nccl_call* find(std::size_t rank, std::uint64_t collective) {
    if (members[rank].queue.empty()) return nullptr;
    for (auto& c : members[rank].queue.front()->calls)
      if (c.what < nccl_call::send && c.number == collective) return &c;
    return nullptr;
  }
  nccl_call* find(std::size_t rank, decltype(nccl_call::what) what, int peer, std::uint64_t number) {
    if (members[rank].queue.empty()) return nullptr;
    for (auto& c : members[rank].queue.front()->calls)
      if (c.what == what && c.peer == peer && c.number == number) return &c;
    return nullptr;
  }
  // Under the lock: whatever can be done now.
  void advance() {
    if (faults().never_complete) return;
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t r = 0; r < members.size(); ++r) {
        auto& queue = members[r].queue;
        if (queue.empty()) continue;
        bool all = true;
        for (auto& c : queue.front()->calls) {
          if (!c.done) moved |= try_call(r, c);
          all &= c.done;
        }
        if (all) queue.front()->finished = true, queue.pop_front(), moved = true;
      }
    }
  }
  bool try_call(std::size_t rank, nccl_call& c) {
    if (c.what == nccl_call::receive) return false;  // its sender does it
    if (c.what == nccl_call::send) {
      nccl_call* other = find(std::size_t(c.peer), nccl_call::receive, int(rank), c.number);
      if (!other) return false;
      if (other->count != c.count || other->type != c.type) return mismatch = true, false;
      std::memmove(other->out, c.in, c.count * width_of(c.type));
      return c.done = other->done = true;
    }
    std::vector<nccl_call*> all;
    for (std::size_t r = 0; r < members.size(); ++r) {
      nccl_call* other = find(r, c.number);
      if (!other) return false;
      if (other->what != c.what || other->count != c.count || other->type != c.type || other->op != c.op || other->peer != c.peer) return mismatch = true, false;
      all.push_back(other);
    }
    run(all);
    for (auto* other : all) other->done = true;
    return true;
  }
  static void run(const std::vector<nccl_call*>& all) {
    switch (all.front()->type) {
      case ncclInt8: return run_as<std::int8_t>(all);
      case ncclUint8: return run_as<std::uint8_t>(all);
      case ncclInt32: return run_as<std::int32_t>(all);
      case ncclUint32: return run_as<std::uint32_t>(all);
      case ncclInt64: return run_as<std::int64_t>(all);
      case ncclUint64: return run_as<std::uint64_t>(all);
      case ncclFloat16: return run_as<binary16>(all);
      case ncclFloat32: return run_as<float>(all);
      case ncclFloat64: return run_as<double>(all);
      case ncclBfloat16: return run_as<bfloat16>(all);
    }
  }
  template <class T>
  static T combine(ncclRedOp_t op, T a, T b) {
    return op == ncclSum ? T(a + b) : op == ncclProd ? T(a * b) : op == ncclMax ? (a < b ? b : a) : (b < a ? b : a);
  }
  template <class T>
  static void run_as(const std::vector<nccl_call*>& all) {
    const nccl_call& c = *all.front();
    const std::size_t ranks = all.size(), n = c.count;
    std::vector<T> whole;  // first what comes out, then where it goes: outputs may be inputs
    if (c.what == nccl_call::broadcast) {
      const T* from = static_cast<const T*>(all[std::size_t(c.peer)]->in);
      whole.assign(from, from + n);
    } else if (c.what == nccl_call::all_gather) {
      for (const auto* one : all) whole.insert(whole.end(), static_cast<const T*>(one->in), static_cast<const T*>(one->in) + n);
    } else {
      const std::size_t length = c.what == nccl_call::reduce_scatter ? n * ranks : n;
      whole.assign(static_cast<const T*>(c.in), static_cast<const T*>(c.in) + length);
      for (std::size_t r = 1; r < ranks; ++r)
        for (std::size_t i = 0; i < length; ++i) whole[i] = combine(c.op, whole[i], static_cast<const T*>(all[r]->in)[i]);
    }
    for (std::size_t r = 0; r < ranks; ++r) {
      if (c.what == nccl_call::reduce && int(r) != c.peer) continue;
      const bool piece = c.what == nccl_call::reduce_scatter;
      if (n > 0) std::memcpy(all[r]->out, whole.data() + (piece ? r * n : 0), (piece ? n : whole.size()) * sizeof(T));
    }
  }
};

struct nccl_rank {
  std::shared_ptr<nccl_clique> clique;
  int rank = 0, polls = 0;
  bool finalised = false;
  std::uint64_t splits = 0;
  std::string last_error;
  std::shared_ptr<nccl_group> launching;           // begun, not through yet
  cudaStream_t stream = nullptr;
  struct split_request { int colour, key; std::uint64_t number; nccl_rank** to; };
  std::unique_ptr<split_request> splitting;
};

struct nccl_thread {  // ncclGroupStart is of a thread
  int depth = 0;
  nccl_rank* comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<nccl_call> calls;
};
inline nccl_thread& nccl_of_this_thread() {
  thread_local nccl_thread mine;
  return mine;
}

inline std::shared_ptr<nccl_clique> clique_of(const char* id, int size) {
  static std::mutex lock;
  static std::map<std::string, std::shared_ptr<nccl_clique>> all;
  const std::lock_guard guard(lock);
  auto& found = all[id];
  if (!found) found = std::make_shared<nccl_clique>(size);
  return found;
}

inline void hand_over(nccl_rank& comm) {
  const std::lock_guard guard(comm.clique->lock);
  auto& mine = comm.clique->members[std::size_t(comm.rank)];
  for (auto& c : comm.launching->calls)
    c.number = c.what == nccl_call::send ? mine.sent[c.peer]++ : c.what == nccl_call::receive ? mine.received[c.peer]++ : mine.collectives++;
  mine.queue.push_back(comm.launching);
  comm.stream->last = std::exchange(comm.launching, nullptr);
  comm.clique->advance();
}
// True when all ranks have asked, and then the part stands.
inline bool try_split(nccl_rank& comm) {
  auto& clique = *comm.clique;
  const auto& wanted = *comm.splitting;
  const std::lock_guard guard(clique.lock);
  const auto& asked = clique.splits[wanted.number];
  if (asked.size() < clique.members.size()) return false;
  int size = 0, place = 0;
  for (const auto& [colour, key, rank] : asked)
    if (colour == wanted.colour) ++size, place += std::pair(key, rank) < std::pair(wanted.key, comm.rank);
  auto& part = clique.parts[{wanted.number, wanted.colour}];
  if (!part) part = std::make_shared<nccl_clique>(size);
  auto* made = new nccl_rank;
  made->clique = part, made->rank = place;
  {
    const std::lock_guard inner(part->lock);
    part->members[std::size_t(place)].here = true;
  }
  *wanted.to = made;
  comm.splitting.reset();
  return true;
}
inline ncclResult_t state_of(nccl_rank& comm) {
  if (const int provoked = faults().asynchronous) return comm.last_error = "provoked", ncclResult_t(provoked);
  if (!comm.clique->all_here()) return ncclInProgress;
  if (comm.splitting && !try_split(comm)) return ncclInProgress;
  if (comm.launching) {
    if (--comm.polls > 0) return ncclInProgress;
    hand_over(comm);
  }
  const std::lock_guard guard(comm.clique->lock);
  comm.clique->advance();
  if (comm.clique->mismatch) return comm.last_error = "ranks disagree", ncclInvalidUsage;
  for (const auto& m : comm.clique->members)
    if (m.gone) return comm.last_error = "a rank has aborted", ncclRemoteError;
  return comm.finalised && !comm.clique->members[std::size_t(comm.rank)].queue.empty() ? ncclInProgress : ncclSuccess;
}
inline ncclResult_t add(nccl_rank* comm, cudaStream_t stream, nccl_call call) {
  auto& mine = nccl_of_this_thread();
  if (mine.depth == 0 || (mine.comm && mine.comm != comm)) return ncclInvalidUsage;  // the library groups every call
  if (comm->launching || comm->finalised || comm->splitting) return ncclInvalidUsage;
  mine.comm = comm, mine.stream = stream;
  mine.calls.push_back(call);
  return ncclSuccess;
}
}  // namespace entrain::emulated

using ncclComm_t = entrain::emulated::nccl_rank*;

inline const char* ncclGetErrorString(ncclResult_t r) {
  constexpr const char* names[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage", "remote process exited or there was a network error", "operation in progress"};
  return names[r];
}
inline const char* ncclGetLastError(ncclComm_t comm) { return comm ? comm->last_error.c_str() : ""; }
inline ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> number = 0;
  *id = {};
  const std::string text = "emulated " + std::to_string(++number);
  std::memcpy(id->internal, text.data(), text.size());
  return ncclSuccess;
}
inline ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0) return ncclInvalidUsage;
  *comm = new entrain::emulated::nccl_rank;
  (*comm)->clique = entrain::emulated::clique_of(id.internal, size), (*comm)->rank = rank;
  const std::lock_guard guard((*comm)->clique->lock);
  (*comm)->clique->members[std::size_t(rank)].here = true;
  return ncclInProgress;
}
inline ncclResult_t ncclCommSplit(ncclComm_t comm, int colour, int key, ncclComm_t* part, ncclConfig_t*) {
  if (comm->launching || comm->splitting) return ncclInvalidUsage;
  *part = nullptr;
  comm->splitting = std::make_unique<entrain::emulated::nccl_rank::split_request>(entrain::emulated::nccl_rank::split_request{colour, key, comm->splits++, part});
  const std::lock_guard guard(comm->clique->lock);
  comm->clique->splits[comm->splitting->number].emplace_back(colour, key, comm->rank);
  return ncclInProgress;
}
inline ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) { *state = entrain::emulated::state_of(*comm); return ncclSuccess; }
inline ncclResult_t ncclCommFinalize(ncclComm_t comm) { return comm->launching ? ncclInvalidUsage : (comm->finalised = true, ncclInProgress); }
inline ncclResult_t ncclCommDestroy(ncclComm_t comm) { ++entrain::emulated::faults().destroyed; delete comm; return ncclSuccess; }
inline ncclResult_t ncclCommAbort(ncclComm_t comm) {
  ++entrain::emulated::faults().aborted;
  {
    const std::lock_guard guard(comm->clique->lock);
    auto& mine = comm->clique->members[std::size_t(comm->rank)];
    mine.gone = true;
    for (auto& group : mine.queue) group->finished = true;
    mine.queue.clear();
  }
  delete comm;
  return ncclSuccess;
}
inline ncclResult_t ncclGroupStart() { ++entrain::emulated::nccl_of_this_thread().depth; return ncclSuccess; }
inline ncclResult_t ncclGroupEnd() {
  auto& mine = entrain::emulated::nccl_of_this_thread();
  if (mine.depth == 0) return ncclInvalidUsage;
  if (--mine.depth > 0 || !mine.comm) return ncclSuccess;
  auto& comm = *std::exchange(mine.comm, nullptr);
  ++entrain::emulated::faults().groups;
  comm.launching = std::make_shared<entrain::emulated::nccl_group>();
  comm.launching->calls = std::exchange(mine.calls, {});
  comm.stream = mine.stream;
  comm.polls = entrain::emulated::faults().slow_launches;
  if (comm.polls > 0) return ncclInProgress;
  entrain::emulated::hand_over(comm);
  return ncclSuccess;
}
#define ENTRAIN_EMULATED_CALL(...) entrain::emulated::add(comm, stream, entrain::emulated::nccl_call{entrain::emulated::nccl_call::__VA_ARGS__})
inline ncclResult_t ncclAllReduce(const void* in, void* out, std::size_t n, ncclDataType_t t, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(all_reduce, in, out, n, t, op, 0); }
inline ncclResult_t ncclReduce(const void* in, void* out, std::size_t n, ncclDataType_t t, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(reduce, in, out, n, t, op, root); }
inline ncclResult_t ncclBroadcast(const void* in, void* out, std::size_t n, ncclDataType_t t, int root, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(broadcast, in, out, n, t, ncclSum, root); }
inline ncclResult_t ncclAllGather(const void* in, void* out, std::size_t n, ncclDataType_t t, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(all_gather, in, out, n, t, ncclSum, 0); }
inline ncclResult_t ncclReduceScatter(const void* in, void* out, std::size_t n, ncclDataType_t t, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(reduce_scatter, in, out, n, t, op, 0); }
inline ncclResult_t ncclSend(const void* in, std::size_t n, ncclDataType_t t, int peer, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(send, in, nullptr, n, t, ncclSum, peer); }
inline ncclResult_t ncclRecv(void* out, std::size_t n, ncclDataType_t t, int peer, ncclComm_t comm, cudaStream_t stream) { return ENTRAIN_EMULATED_CALL(receive, nullptr, out, n, t, ncclSum, peer); }
#undef ENTRAIN_EMULATED_CALL
