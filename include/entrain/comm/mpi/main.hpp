// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <exception>
#include <functional>

#include <entrain/comm/mpi.hpp>

// The frame of an MPI program whose errors are told by the rank that had them:
//
//   int main(int argc, char** argv) {
//     return entrain::run_main(argc, argv, [](entrain::comm::mpi& world) { ... });
//   }
//
// A plain `comm::mpi world{argc, argv};` in main is as safe as long as nobody catches an exception outside of its scope.

namespace entrain {

// Calls body(world); its int, if it returns one, is the exit code. An exception that leaves the body is printed as
// `rank R of P: <what()>` and ends the job on all ranks with code 1.
template <std::invocable<comm::mpi&> Body>
int run_main(int& argc, char**& argv, Body&& body, comm::mpi_options options = {}) {
  comm::mpi world{argc, argv, options};
  try {
    if constexpr (std::convertible_to<std::invoke_result_t<Body, comm::mpi&>, int>) {
      return std::invoke(std::forward<Body>(body), world);
    } else {
      std::invoke(std::forward<Body>(body), world);
      return 0;
    }
  } catch (...) {
    comm::mpi_detail::abort_job(comm::mpi_detail::message_of(std::current_exception()));
  }
}

}  // namespace entrain
