// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <entrain/core/error.hpp>

// Where the ranks of a job meet, and which of them this is.

namespace entrain::comm {

struct job_address {
  static constexpr std::size_t longest_key = 64;

  int rank = 0, size = 1;
  std::string host = "127.0.0.1";  // a name or an address (IPv4 or IPv6) at which rank 0 can be reached
  std::uint16_t port = 29500;
  std::string key = {};  // of this run, at most 64 bytes: ranks of another run that meet at the same port by mistake are sent away
  int local_rank = 0;    // among the ranks of this machine: the device, say. Not used to meet

  // MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE, and where they are set LOCAL_RANK and TORCHELASTIC_RUN_ID (the key), as torchrun sets
  // them. Where its own store listens at MASTER_PORT (TORCHELASTIC_USE_AGENT_STORE=True), the port above. Errors: usage_error.
  static job_address from_environment() {
    job_address job;
    const std::string_view host = read("MASTER_ADDR"), key = read("TORCHELASTIC_RUN_ID", true);
    const auto port = number("MASTER_PORT", 65535);
    const bool taken = read("TORCHELASTIC_USE_AGENT_STORE", true) == "True";
    job.host = host, job.key = key.substr(0, longest_key);
    job.port = std::uint16_t(!taken ? port : port < 65535 ? port + 1 : port - 1);
    job.rank = int(number("RANK", most)), job.size = int(number("WORLD_SIZE", most));
    if (!read("LOCAL_RANK", true).empty()) job.local_rank = int(number("LOCAL_RANK", most));
    job.check();
    return job;
  }

  // Errors: usage_error.
  void check() const {
    const auto refuse = [](const char* wrong, std::string expected, std::string found) { throw usage_error("comm::job_address", wrong, std::move(expected), std::move(found)); };
    if (size < 1) refuse("no such number of ranks", "1 or more", std::to_string(size));
    if (rank < 0 || rank >= size) refuse("no such rank", entrain::detail::text("a rank in [0, ", size, ")"), std::to_string(rank));
    if (host.empty()) refuse("no host", "the name or the address of rank 0's machine", "nothing");
    if (key.size() > longest_key) refuse("the key is too long", entrain::detail::text("at most ", longest_key, " bytes"), std::to_string(key.size()));
    if (port == 0 && rank != 0) refuse("no port", "the port at which rank 0 listens", "0");
  }

  // "10.0.0.1:29500", "[::1]:29500"
  std::string text() const {
    const bool colons = host.find(':') != std::string::npos && host.front() != '[';
    return entrain::detail::text(colons ? "[" : "", host, colons ? "]" : "", ':', port);
  }

 private:
  static constexpr long most = 1L << 30;
  static std::string_view read(const char* variable, bool optional = false) {
    const char* value = std::getenv(variable);
    if ((!value || !*value) && !optional)
      throw usage_error("comm::job_address::from_environment", entrain::detail::text("the environment has no ", variable), "MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE, as torchrun sets them", "none");
    return value ? value : "";
  }
  static long number(const char* variable, long largest) {
    const auto value = read(variable);
    long out = -1;
    const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), out);
    if (failed != std::errc() || end != value.data() + value.size() || out < 0 || out > largest)
      throw usage_error("comm::job_address::from_environment", entrain::detail::text(variable, " is no such number"), entrain::detail::text("a number in [0, ", largest, "]"), entrain::detail::text("'", value, "'"));
    return out;
  }
};

}  // namespace entrain::comm
