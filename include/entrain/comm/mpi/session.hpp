// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include <entrain/comm/mpi/handle.hpp>
#include <entrain/core/error.hpp>

// The life of MPI in this process, for whoever starts it: initialises, finalises, and sees to it that a rank that fails
// ends the whole job. Without that the others would wait for the lost rank until the batch system kills them:
//
//  - an exception that nobody catches: a terminate handler prints `rank R of P: <what()>` and calls MPI_Abort;
//  - an exception on its way past the session: MPI_Abort instead of MPI_Finalize, which would wait for the others.

namespace entrain::comm {

// Which threads of a rank may call MPI: the one that initialised it, one at a time, or any at any time.
enum class mpi_threads { funneled, serialized, multiple };

namespace mpi_detail {

// Where a rank stands in the world, for a message; works in any state of MPI.
inline std::string who() {
  if (!running()) return "a rank outside MPI";
  int rank = -1, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return "rank " + std::to_string(rank) + " of " + std::to_string(size);
}

// Prints one line and ends the job on all ranks.
[[noreturn]] inline void abort_job(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", who().c_str(), message.c_str());
  std::fflush(stderr);
  if (running()) MPI_Abort(MPI_COMM_WORLD, 1);
  std::_Exit(1);
}

// The message of an exception that is being handled.
inline std::string message_of(const std::exception_ptr& failure) {
  if (!failure) return "terminated without an exception";
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "terminated by an exception that is no std::exception";
  }
}

inline void terminate_job() { abort_job(message_of(std::current_exception())); }

class session {
 public:
  // Starts MPI, or returns null where someone else has: then MPI, its end and the terminate handler are theirs.
  static std::unique_ptr<session> start(int* argc, char*** argv, mpi_threads threads) {
    const int levels[] = {MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE};
    const int wanted = levels[int(threads)];
    int initialised = 0, provided = 0, finalised = 0;
    MPI_Finalized(&finalised);
    if (finalised) throw usage_error("comm::mpi", "MPI has been finalised in this process and cannot start twice");
    MPI_Initialized(&initialised);
    std::unique_ptr<session> started;
    if (initialised) {
      MPI_Query_thread(&provided);
    } else {
      if (MPI_Init_thread(argc, argv, wanted, &provided) != MPI_SUCCESS) throw communication_error("comm::mpi", "MPI_Init_thread failed");
      started.reset(new session);
    }
    if (provided < wanted)
      throw usage_error("comm::mpi", "MPI gives less thread support than asked for", std::to_string(wanted), std::to_string(provided));
    return started;
  }

  session(const session&) = delete;
  session& operator=(const session&) = delete;
  // From now on the end of the session is the end of the job, on all ranks.
  void fail() { failed_ = true; }
  ~session() {
    if (std::uncaught_exceptions() > exceptions_)
      abort_job("an exception is leaving the scope of comm::mpi; ending the job (to see its message catch it inside that scope)");
    if (failed_) abort_job("communication has failed; ending the job");
    std::set_terminate(previous_);
    if (running()) MPI_Finalize();
  }

 private:
  session() = default;
  bool failed_ = false;
  int exceptions_ = std::uncaught_exceptions();
  std::terminate_handler previous_ = std::set_terminate(terminate_job);
};

}  // namespace mpi_detail
}  // namespace entrain::comm
