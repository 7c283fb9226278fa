// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <nccl.h>
#include <unistd.h>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/rendezvous.hpp>
#include <entrain/core/error.hpp>

// How ranks that shall form one group learn its unique id: over a communicator that they have already, by rank 0's
// address, or through a file.

namespace entrain::comm {

// Made by one rank, for all of them.
inline ncclUniqueId make_nccl_id() {
  ncclUniqueId id;
  if (const auto result = ncclGetUniqueId(&id); result != ncclSuccess) throw communication_error("comm::make_nccl_id", ncclGetErrorString(result));
  return id;
}

// The id that rank 0 has made, on every rank of `host`; all ranks call it.
template <class Host>
ncclUniqueId share_nccl_id(Host& host) {
  struct {
    ncclUniqueId id;
    ncclResult_t result = ncclSuccess;  // travels too, so that a failure of rank 0 ends all
  } made{};
  if (host.rank() == 0) made.result = ncclGetUniqueId(&made.id);
  auto request = detail::start<collective::broadcast, std::byte, no_operation, host_space>(
      host, {.count = sizeof(made)}, reinterpret_cast<const std::byte*>(&made), reinterpret_cast<std::byte*>(&made),
      [&](auto& able) { return able.start_broadcast(view<std::byte>(reinterpret_cast<std::byte*>(&made), sizeof(made)), 0); });
  request.wait();
  if (made.result != ncclSuccess) throw communication_error("comm::nccl", "rank 0 got no unique id", "ncclSuccess", ncclGetErrorString(made.result));
  return made.id;
}

// By the address of rank 0, for jobs that have no MPI (comm/rendezvous.hpp):
//
//   const auto job = comm::job_address::from_environment();  // MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE
//   comm::nccl_ranks ranks{job.rank, job.size};
//   comm::nccl world{ranks, engine, comm::nccl_id_over_tcp(job, std::chrono::minutes(2))};
//
// All ranks call it. Errors: usage_error, communication_error.
inline ncclUniqueId nccl_id_over_tcp(const job_address& job, std::chrono::milliseconds deadline) {
  job.check();
  ncclUniqueId id{};
  if (job.rank == 0) id = make_nccl_id();
  share_over_tcp(job, std::as_writable_bytes(std::span(&id, 1)), deadline);
  return id;
}
// Rank 0's side, where it has to listen before the others know its port.
inline ncclUniqueId nccl_id_over_tcp(rendezvous_host& host, std::chrono::milliseconds deadline) {
  const ncclUniqueId id = make_nccl_id();
  host.give(std::as_bytes(std::span(&id, 1)), deadline);
  return id;
}

// Through a file on a file system that all ranks see, for jobs that have no MPI:
//
//   comm::nccl_ranks job{rank, ranks};     // as the batch system says
//   comm::nccl world{job, engine, comm::nccl_id_from_file("/shared/job-" + job_id, rank, std::chrono::minutes(2))};
//
// Rank 0 makes the id and writes it under a temporary name that it then changes, so that nobody reads a part; the others wait for
// the file. The path must be new for every run: rank 0 refuses one that exists, since others may have read it. The file stays,
// and may be removed once the communicator stands. Errors: file_error; communication_error at the deadline.
inline ncclUniqueId nccl_id_from_file(const std::filesystem::path& path, int rank, std::chrono::milliseconds deadline) {
  namespace fs = std::filesystem;
  static constexpr char magic[16] = "entrain nccl id";
  struct {
    char magic[16];
    ncclUniqueId id;
  } content{};
  std::error_code ignored;
  if (rank == 0) {
    if (fs::exists(path, ignored)) throw file_error(path.string(), "is left from another run, whose id other ranks may read", "a path of this run alone", "an existing file");
    std::memcpy(content.magic, magic, sizeof(magic));
    content.id = make_nccl_id();
    const fs::path part = path.string() + "." + std::to_string(::getpid()) + ".part";
    std::ofstream file(part, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&content), sizeof(content));
    file.close();
    std::error_code failed;
    if (file) fs::rename(part, path, failed);
    if (!file || failed) {
      fs::remove(part, ignored);
      throw file_error(path.string(), "the unique id cannot be written", "a folder that can be written to", failed ? failed.message() : "a failed write");
    }
    return content.id;
  }
  const auto end = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    if (std::ifstream file(path, std::ios::binary); file) {
      file.read(reinterpret_cast<char*>(&content), sizeof(content));
      if (std::size_t(file.gcount()) != sizeof(content) || std::memcmp(content.magic, magic, sizeof(magic)) != 0)
        throw file_error(path.string(), "holds no unique id of NCCL", entrain::detail::text(sizeof(content), " bytes that begin with '", magic, "'"), entrain::detail::text(file.gcount(), " bytes"));
      return content.id;
    }
    if (std::chrono::steady_clock::now() >= end)
      throw communication_error(entrain::detail::text("comm::nccl_id_from_file, rank ", rank), "there is no file '" + path.string() + "', which rank 0 writes, after " + std::to_string(deadline.count()) + " ms",
                                "the same path on a file system that both see", "none");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace entrain::comm
