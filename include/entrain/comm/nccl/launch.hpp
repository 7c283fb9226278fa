// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <entrain/engine/cuda/event.hpp>

// What is given to NCCL together, between ncclGroupStart and ncclGroupEnd: one collective, a batch of them, or the messages that a
// rank has started since it last waited for anything. It is one kernel on the device; one event says when all of it is done.

namespace entrain::comm::nccl_detail {

struct call {
  enum class kind { all_reduce, reduce, broadcast, all_gather, reduce_scatter, send, receive } what;
  const void* in = nullptr;
  void* out = nullptr;
  std::size_t count = 0;  // of what `type` says; as NCCL counts for this kind
  ncclDataType_t type = ncclUint8;
  ncclRedOp_t operation = ncclSum;
  int peer = 0;  // or the root
};

inline ncclResult_t make(const call& c, ncclComm_t comm, cudaStream_t stream) {
  switch (c.what) {
    case call::kind::all_reduce: return ncclAllReduce(c.in, c.out, c.count, c.type, c.operation, comm, stream);
    case call::kind::reduce: return ncclReduce(c.in, c.out, c.count, c.type, c.operation, c.peer, comm, stream);
    case call::kind::broadcast: return ncclBroadcast(c.in, c.out, c.count, c.type, c.peer, comm, stream);
    case call::kind::all_gather: return ncclAllGather(c.in, c.out, c.count, c.type, comm, stream);
    case call::kind::reduce_scatter: return ncclReduceScatter(c.in, c.out, c.count, c.type, c.operation, comm, stream);
    case call::kind::send: return ncclSend(c.in, c.count, c.type, c.peer, comm, stream);
    case call::kind::receive: return ncclRecv(c.out, c.count, c.type, c.peer, comm, stream);
  }
  return ncclInvalidArgument;
}

struct launch {
  enum class state { collecting, launching, running, done } now = state::collecting;
  std::vector<call> calls;
  engine::cuda_event finished;
  std::string_view what;       // for messages to people: a literal
  std::uint64_t sequence = 0;  // of the group's launches
  int references = 0;          // requests
};

}  // namespace entrain::comm::nccl_detail
