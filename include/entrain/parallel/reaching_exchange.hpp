// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/direct_exchange.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/staged_exchange.hpp>

// Either of two exchanges, chosen when the ranks meet: straight from device memory (parallel/direct_exchange.hpp) if the communicators of
// all of them reach it, else through host memory (parallel/staged_exchange.hpp).

namespace entrain::parallel {

template <class T, class Kept, class Engine, class Communicator, class Compression>
class reaching_exchange {
  using space = typename Engine::space;
  using staged = staged_exchange<T, Kept, Engine, Communicator, Compression>;
  using direct = direct_exchange<T, Engine, Communicator>;

 public:
  // All ranks make one at the same time. Errors: those of reaches_device_memory().
  reaching_exchange(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Compression& compression, std::size_t bucket_bytes, bool whole_blocks) {
    int reaches = comm.reaches_device_memory();
    if (comm.size() > 1) comm::all_reduce(comm, view<int>(&reaches, 1), comm::minimum{});
    if (reaches) which_.template emplace<direct>(layout, engine, comm, compression, bucket_bytes, whole_blocks);
    else which_.template emplace<staged>(layout, engine, comm, compression, bucket_bytes, whole_blocks);
  }

  bool is_direct() const { return std::holds_alternative<direct>(which_); }

  void begin_step(const compress::context& where) {
    visit([&](auto& x) { x.begin_step(where); });
  }
  void ready(std::size_t block, view<T, space> gradient) {
    visit([&](auto& x) { x.ready(block, gradient); });
  }
  void finish(view<T, space> gradient, double count) {
    visit([&](auto& x) { x.finish(gradient, count); });
  }
  void settle() {
    visit([](auto& x) { x.settle(); });
  }
  void add_to(plan& p, std::uint64_t step) const {
    if (auto* x = std::get_if<direct>(&which_)) x->add_to(p, step);
    else std::get<staged>(which_).add_to(p, step);
  }
  std::string explain(std::uint64_t step) const {
    if (auto* x = std::get_if<direct>(&which_)) return x->explain(step);
    return std::get<staged>(which_).explain(step);
  }
  template <class Sink>
  void save(Sink& sink) {
    visit([&](auto& x) { x.save(sink); });
  }
  template <class Source>
  void load(Source& source) {
    visit([&](auto& x) { x.load(source); });
  }

 private:
  template <class F>
  void visit(F&& f) {
    if (auto* x = std::get_if<direct>(&which_)) f(*x);
    else f(std::get<staged>(which_));
  }
  std::variant<std::monostate, direct, staged> which_;
};

}  // namespace entrain::parallel
