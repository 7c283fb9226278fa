// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/checked.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/comm/placed.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/comm/traits.hpp>

#if defined(ENTRAIN_WITH_MPI) && ENTRAIN_WITH_MPI
#include <entrain/comm/mpi.hpp>
#include <entrain/comm/mpi/main.hpp>
#endif
