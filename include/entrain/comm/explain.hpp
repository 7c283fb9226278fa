// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/cost_model.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/comm/selection.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/core/dtype.hpp>

// Which way a collective would go, why, and what the other ways would take, as text. Does not communicate.
//
//   std::cout << comm::explain(world, comm::collective::all_reduce, 1 << 20);
//   std::cout << comm::explain<double, my_operation>(world, comm::collective::reduce, n);

namespace entrain::comm {

namespace explain_detail {

inline std::string padded(std::string text, std::size_t width, bool left = true) {
  if (text.size() < width) text.insert(left ? text.size() : 0, width - text.size(), ' ');
  return text;
}
inline std::string time_text(double seconds) {
  char text[32];
  if (seconds < 1e-3) std::snprintf(text, sizeof text, "%.3g us", seconds * 1e6);
  else if (seconds < 1) std::snprintf(text, sizeof text, "%.3g ms", seconds * 1e3);
  else std::snprintf(text, sizeof text, "%.3g s", seconds);
  return text;
}
inline std::string bytes_text(std::uint64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = double(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %s", value, units[unit]);
  return text;
}

// Everything that the text depends on.
struct call {
  selection_detail::shape what;
  std::size_t count = 0;
  bool native_always = false;
  const algorithm* by_hand = nullptr;  // what the user has asked for, whatever it costs
  std::string_view type, operation;
};

struct row {
  const algorithm* built;
  prediction predicted;
  std::uint64_t messages = 0, bytes = 0;  // the most that a rank sends
};

inline row row_of(const call& asked, const selection_detail::candidate& one, problem c) {
  row result{one.built, predicted_seconds(*one.costs, one.built, c)};
  for (c.rank = 0; one.built && c.rank < c.size; ++c.rank) {
    const cost sent = one.built->predict(c);
    result.messages = std::max(result.messages, sent.messages);
    result.bytes = std::max(result.bytes, sent.elements * asked.what.width);
  }
  return result;
}

inline std::string name_in_table(const call& asked, const algorithm* built) {
  return std::string(built ? built->name : asked.what.native) + (built ? "" : asked.what.native == "native" ? "" : " (native)");
}

inline std::string source_of(const prediction& p, const profile& costs, int ranks) {
  const cost_entry& e = *p.from;
  const bool mine = !costs.entries().empty() && &e >= costs.entries().data() && &e < costs.entries().data() + costs.entries().size();
  std::string text = mine ? "" : "built-in: ";
  text += e.communicator == "*" ? "any communicator" : e.communicator;
  text += e.collective == "*" ? ", any collective" : "";
  text += e.ranks == 0 ? ", any number of ranks" : e.ranks == ranks ? ", " + std::to_string(ranks) + " ranks" : ", nearest measured: " + std::to_string(e.ranks) + " ranks";
  return text;
}

// Why the algorithm cannot do this call; empty: it can.
inline std::string obstacle(const call& asked, const algorithm& a, const problem& c) {
  if (!asked.what.commutative && !a.keeps_order) return "operands do not meet in rank order, and " + std::string(asked.operation) + " does not commute";
  if (a.fits && !a.fits(c)) return "it is not made for this number of ranks, ranks a node or elements";
  return {};
}

inline std::string describe(const call& asked, const problem& c) {
  std::string text(name_of(asked.what.kind));
  if (asked.what.kind != collective::barrier) {
    text += " of " + std::to_string(asked.count) + " " + std::string(asked.type) + " (" + bytes_text(operand_bytes(c)) + " in all)";
    if (!asked.operation.empty()) text += ", " + std::string(asked.operation);
  }
  return text + ", " + std::to_string(asked.what.ranks) + " ranks of " + std::string(asked.what.communicator);
}

inline std::string reason(const call& asked, const algorithm* chosen) {
  if (asked.by_hand) return "asked for by hand";
  if (asked.native_always) return "a message is a read of shared memory here: no algorithm can beat the native way";
  if (!chosen && asked.what.native.empty()) return "nothing else is possible";
  if (asked.what.kind == collective::all_to_all_v) return "the least predicted time for equal pieces of middle size: no rank knows all counts";
  return "the least predicted time";
}

inline std::string explain(call asked, const profile& costs) {
  selection_detail::example example(asked.what);
  const problem& c = example.with_count(asked.count);
  if (asked.by_hand && asked.by_hand->fits && !asked.by_hand->fits(c)) asked.by_hand = nullptr;  // dispatch does the same
  std::vector<row> rows;
  std::string impossible;
  for (const auto& one : selection_detail::candidates_of(asked.what, costs))
    if (!one.built || obstacle(asked, *one.built, c).empty()) rows.push_back(row_of(asked, one, c));
  for (const algorithm* a : algorithms_of(asked.what.kind))
    if (const std::string why = obstacle(asked, *a, c); !why.empty()) impossible += "  " + padded(std::string(a->name), 22) + " " + why + "\n";
  if (asked.what.native.empty()) impossible += "  " + padded("native", 22) + " the communicator has none for this element type, operation and memory\n";
  std::stable_sort(rows.begin(), rows.end(), [](const row& a, const row& b) { return a.predicted.seconds < b.predicted.seconds; });

  std::string out = describe(asked, c) + "\n";
  const algorithm* chosen = asked.by_hand            ? asked.by_hand
                            : asked.native_always    ? nullptr
                            : rows.empty()           ? nullptr
                                                     : choose(asked.what.communicator, asked.what.native, c, asked.what.commutative, costs).built;
  if (rows.empty() && !asked.by_hand) out += "choice: none: it cannot be done\n";
  else out += "choice: " + (chosen ? std::string(chosen->name) + ", built from messages" : name_in_table(asked, nullptr)) + ": " + reason(asked, chosen) + "\n";
  char signature[32];
  std::snprintf(signature, sizeof signature, "%016llx", static_cast<unsigned long long>(costs.signature()));
  out += "profile: " + costs.origin() + " (" + signature + ")";
  if (costs.origin() == "built-in") out += ": of no machine; bench/run.sh calibrate measures one, ENTRAIN_PROFILE names its file";
  out += "\n  " + padded("", 22) + padded("predicted", 12, false) + padded("messages", 10, false) + padded("sent", 12, false) + "   costs of\n";
  for (const row& r : rows) {
    const bool here = r.built == chosen;
    out += std::string(here ? "* " : "  ") + padded(name_in_table(asked, r.built), 22) + padded(time_text(r.predicted.seconds), 12, false);
    out += padded(r.built ? std::to_string(r.messages) : "-", 10, false) + padded(r.built ? bytes_text(r.bytes) : "-", 12, false);
    out += "   " + source_of(r.predicted, costs, c.size) + "\n";
  }
  if (!impossible.empty()) out += "impossible:\n" + impossible;
  return out + "messages and bytes: the most that one rank sends; those of native ways are not known\n";
}

template <collective Kind>
inline constexpr bool reduces = Kind == collective::reduce || Kind == collective::all_reduce || Kind == collective::reduce_scatter;

template <collective Kind, class T, class Op>
using operation_of = std::conditional_t<reduces<Kind>, Op, no_operation>;

// kind is known at run time, natives at compile time.
template <class C, class T, class Op, std::size_t... Kinds>
bool has_native(collective kind, std::index_sequence<Kinds...>) {
  return ((std::size_t(kind) == Kinds && native<C, collective(Kinds), T, operation_of<collective(Kinds), T, Op>>) || ...);
}

}  // namespace explain_detail

// `count`: as start_<collective> takes it: elements of the operand of broadcast, reduce and all_reduce, of one rank's piece
// otherwise (all_gather_v, all_to_all_v: of each of the pieces). T and Op: its element type and operation.
template <class T = float, class Op = sum, class C>
std::string explain(const C& c, collective kind, std::size_t count, const profile& costs = current_profile()) {
  namespace ed = explain_detail;
  const bool reduces = kind == collective::reduce || kind == collective::all_reduce || kind == collective::reduce_scatter;
  const bool has_native = ed::has_native<C, T, Op>(kind, std::make_index_sequence<std::size_t(collective_kinds)>{});
  ed::call asked;
  asked.what = {cost_name_of(c), {}, kind, c.size(), ranks_per_node_of(c), sizeof(T), !reduces || Op::commutative, costs.signature()};
  asked.count = kind == collective::barrier ? 0 : count;
  if (has_native) asked.what.native = native_name_of(c, kind, asked.count * sizeof(T));
  asked.native_always = has_native && native_always<C>;
  if constexpr (requires { { c.chosen(kind) } -> std::convertible_to<const algorithm*>; }) asked.by_hand = c.chosen(kind);
  asked.type = name_of(dtype_of<T>::value);
  if (reduces) asked.operation = Op::name;
  return ed::explain(asked, costs);
}

}  // namespace entrain::comm
