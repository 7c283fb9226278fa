// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <span>

#include <entrain/comm/rendezvous/address.hpp>
#include <entrain/comm/rendezvous/guest.hpp>
#include <entrain/comm/rendezvous/host.hpp>

// How ranks that have no communicator yet learn what they need to make one, over TCP, by the address of rank 0:
//
//   const auto job = comm::job_address::from_environment();                                     // as torchrun sets it
//   const comm::job_address job{.rank = 3, .size = 8, .host = "node17", .port = 29500, .key = job_id};  // or by hand
//   comm::share_over_tcp(job, bytes, std::chrono::minutes(2));                                  // of rank 0, on all ranks
//
// Rank 0 listens, the others call it until it answers, in whatever order they start. Each says what it is (a magic number, the key of the run,
// its rank, the number of ranks), and gets the bytes when all have come: so either all have them, or all hear what is wrong. Something that
// is not of this run (another key, another protocol) is sent away and named where ranks are missing at the deadline. IPv4 and IPv6. One
// open file a rank at rank 0; nothing stays open. The bytes are neither encrypted nor authenticated: the network must be one to be trusted, as for NCCL.

namespace entrain::comm {

// All ranks of the job call it, with as many bytes. Errors: usage_error; communication_error that says what, where, expected and found, at
// the deadline at the latest (half a second after it, for ranks that have reached rank 0; later only if the system's resolver takes longer).
inline void share_over_tcp(const job_address& job, std::span<std::byte> data, std::chrono::milliseconds deadline) {
  job.check();
  if (job.size == 1) return;
  if (job.rank == 0) rendezvous_host(job).give(data, deadline);
  else rendezvous_detail::caller(job, deadline).fetch(data);
}

}  // namespace entrain::comm
