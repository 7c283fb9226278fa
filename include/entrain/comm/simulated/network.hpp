// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>

#include <entrain/core/error.hpp>

// The wires between simulated ranks: what a message from a to b costs. A message of m bytes keeps a's send port and b's
// receive port busy for latency + m * seconds_per_byte; a rank sends one message and receives one at a time, both at once
// ("one-ported, full-duplex", the model behind the usual cost formulas of collectives).
//
//   comm::network::uniform(2e-6, 12e9);                                   // 2 us, 12 GB/s between any two
//   comm::network::hierarchical({.ranks_per_node = 8, .inner = comm::network::wire(5e-7, 50e9), .outer = comm::network::wire(3e-6, 12e9)});
//   comm::network{[](int a, int b) { return comm::network::wire(1e-6 * std::abs(a - b), 1e9); }};
//
// Ranks are those of the whole job. Seconds, bytes. To add a preset, return a network with another function.

namespace entrain::comm {

struct network {
  struct link {
    double latency = 0;           // alpha: seconds a message takes however short
    double seconds_per_byte = 0;  // beta
  };
  struct nodes {
    int ranks_per_node = 1;
    link inner, outer;         // between ranks of one node, and of two
    bool shared_port = false;  // the ranks of a node share one network card: the bytes of their outer messages take turns
  };

  std::function<link(int from, int to)> between;
  int ranks_per_node = 1;    // rank / ranks_per_node is its node: what algorithms for nodes go by
  bool shared_port = false;  // messages between nodes also occupy both nodes' cards while their bytes pass

  static link wire(double latency, double bytes_per_second) {
    if (!(latency >= 0) || !(bytes_per_second > 0))
      throw usage_error("comm::network", "no such wire", "a latency of at least 0 s and more than 0 bytes/s",
                        entrain::detail::text(latency, " s and ", bytes_per_second, " bytes/s"));
    return {latency, 1 / bytes_per_second};
  }

  static network uniform(double latency, double bytes_per_second) {
    return {[all = wire(latency, bytes_per_second)](int, int) { return all; }};
  }

  static network hierarchical(const nodes& shape) {
    at_least_one(shape.ranks_per_node, "ranks_per_node");
    return {[shape](int a, int b) { return a / shape.ranks_per_node == b / shape.ranks_per_node ? shape.inner : shape.outer; },
            shape.ranks_per_node, shape.shared_port};
  }

  // Ranks in a closed row: every hop adds seconds_per_hop to the latency. Wires in between are never congested.
  static network ring(int ranks, link base, double seconds_per_hop) { return torus(ranks, 1, base, seconds_per_hop); }

  // width * height ranks, row by row, both directions closed.
  static network torus(int width, int height, link base, double seconds_per_hop) {
    at_least_one(width, "width"), at_least_one(height, "height");
    return {[=](int a, int b) {
      const auto hops = [](int x, int y, int length) {
        const int straight = std::abs(x - y);
        return std::min(straight, length - straight);
      };
      const int count = hops(a % width, b % width, width) + hops(a / width % height, b / width % height, height);
      return link{base.latency + seconds_per_hop * count, base.seconds_per_byte};
    }};
  }

 private:
  static void at_least_one(int value, const char* name) {
    if (value < 1) throw usage_error("comm::network", entrain::detail::text("wrong ", name), "at least 1", entrain::detail::text(value));
  }
};

}  // namespace entrain::comm
