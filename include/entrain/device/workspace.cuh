// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/core/error.hpp>
#include <entrain/engine/cuda.hpp>

// The engine's workspace for an operation that cannot do without: on a stream that has none, and where it is too small, a sentence.

namespace entrain::device {

// `operation` names who asks. The memory is the operation's until its stream is given the next one.
inline view<std::byte, cuda_space> workspace_for(const engine::cuda_queue& queue, const char* operation, std::size_t bytes) {
  const auto workspace = queue.workspace();
  if (workspace.empty())
    throw usage_error(operation, "it needs the engine's workspace, which only the engine's own stream has", "a queue as engine::cuda::start() makes it", "a queue on another stream");
  if (workspace.size() < bytes) throw usage_error(operation, "its sums do not fit the engine's workspace", entrain::detail::text("at most ", workspace.size(), " bytes"), entrain::detail::text(bytes));
  return workspace;
}

}  // namespace entrain::device
