// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/mpi.hpp>

namespace tests {

// All ranks of the test job; every rank runs every test case. Lives in tests/mpi/main.cpp.
entrain::comm::mpi& world();

}  // namespace tests
