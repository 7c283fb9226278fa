// SPDX-License-Identifier: Apache-2.0
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

#include <cstdio>
#include <sstream>
#include <string>

#include <entrain/comm/mpi.hpp>

#include "mpi/world.hpp"

// The main of MPI tests. Every rank runs all test cases; rank 0 reports as usual, the others only what fails, with their
// rank. A rank that leaves a test case early (REQUIRE, FAIL, an exception) would leave the others waiting for it: it
// prints why and ends the job. A failed CHECK stays in step, so it is printed and the rank fails at its end.

namespace {

entrain::comm::mpi* running_world = nullptr;

std::string describe(const Catch::AssertionStats& stats) {
  const auto& result = stats.assertionResult;
  std::ostringstream out;
  out << "FAILED at " << result.getSourceInfo();
  if (result.hasExpression()) out << "\n    " << result.getExpressionInMacro();
  if (result.hasExpandedExpression()) out << "\n    with " << result.getExpandedExpression();
  if (result.hasMessage()) out << "\n    " << result.getMessage();
  for (const auto& info : stats.infoMessages) out << "\n    " << info.message;
  return out.str();
}

#if defined(CATCH_VERSION_MAJOR) && CATCH_VERSION_MAJOR >= 3
using listener_base = Catch::EventListenerBase;
using verdict = void;
#else
using listener_base = Catch::TestEventListenerBase;
using verdict = bool;
#endif

struct failure_listener : listener_base {
  using listener_base::listener_base;
  verdict assertionEnded(const Catch::AssertionStats& stats) override {
    const auto& result = stats.assertionResult;
    if (!result.isOk()) {
      const auto macro = result.getTestMacroName();
      const bool stays = std::string(macro.begin(), macro.end()).rfind("CHECK", 0) == 0;
      if (!stays) entrain::comm::mpi_detail::abort_job(describe(stats));
      std::fprintf(stderr, "%s: %s\n", entrain::comm::mpi_detail::who().c_str(), describe(stats).c_str());
    }
    return verdict(true);
  }
};
CATCH_REGISTER_LISTENER(failure_listener)

}  // namespace

entrain::comm::mpi& tests::world() { return *running_world; }

int main(int argc, char** argv) {
  entrain::comm::mpi world{argc, argv};
  running_world = &world;
  Catch::Session session;
  if (const int wrong = session.applyCommandLine(argc, argv)) return wrong;
  if (world.rank() != 0) {
#if defined(CATCH_VERSION_MAJOR) && CATCH_VERSION_MAJOR >= 3
    session.configData().defaultOutputFilename = "/dev/null";
#else
    session.configData().outputFilename = "/dev/null";
#endif
  }
  return session.run();
}
