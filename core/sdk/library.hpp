// A library's descriptor, entry function and manifest, made from one list of what it holds:
//
//   RT_LIBRARY("acme_clamp", "1.0.0", kSchema, kReference, kParallel)
//
// Once, at file scope, outside namespaces. What is listed is constexpr and of namespace scope: an
// rt_schema, rt_implementation, rt_fusion, rt_planner or rt_device, or a std::array of one of them.
// The compiler writes the manifest (plugin.h), so it cannot say anything else than the descriptor.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/sdk/plugin.h"

namespace rt::sdk {

constexpr std::uint32_t kMinHostMinor = 1;  // a host of ABI 0.1 will do

template <class T>
constexpr std::span<const T> each(const T& one) {
  return {&one, 1};
}
template <class T, std::size_t kCount>
constexpr std::span<const T> each(const std::array<T, kCount>& some) {
  return some;
}
template <class Item>
using Descriptor = typename decltype(each(std::declval<const Item&>()))::value_type;

// Those of type T among kItems, in their order.
template <class T, const auto&... kItems>
constexpr auto listed() {
  constexpr auto count = [](const auto& item) {
    return std::is_same_v<T, Descriptor<std::remove_cvref_t<decltype(item)>>> ? each(item).size()
                                                                              : 0;
  };
  std::array<const T*, (std::size_t{0} + ... + count(kItems))> list{};
  std::size_t used = 0;
  const auto add = [&](const auto& item) {
    if constexpr (std::is_same_v<T, Descriptor<std::remove_cvref_t<decltype(item)>>>) {
      for (const T& one : each(item)) list[used++] = &one;
    }
  };
  (add(kItems), ...);
  return list;
}
template <class T, const auto&... kItems>
inline constexpr auto kListed = listed<T, kItems...>();

template <const auto&... kItems>
constexpr rt_plugin descriptor(const char* name, const char* version) {
  const auto& schemas = kListed<rt_schema, kItems...>;
  const auto& implementations = kListed<rt_implementation, kItems...>;
  const auto& planners = kListed<rt_planner, kItems...>;
  const auto& devices = kListed<rt_device, kItems...>;
  const auto& fusions = kListed<rt_fusion, kItems...>;
  return {.struct_size = sizeof(rt_plugin),
          .abi_major = RT_ABI_MAJOR,
          .abi_minor = RT_ABI_MINOR,
          .min_host_minor = kMinHostMinor,
          .name = name,
          .version = version,
          .schema_count = static_cast<std::uint32_t>(schemas.size()),
          .implementation_count = static_cast<std::uint32_t>(implementations.size()),
          .planner_count = static_cast<std::uint32_t>(planners.size()),
          .device_count = static_cast<std::uint32_t>(devices.size()),
          .schemas = schemas.data(),
          .implementations = implementations.data(),
          .planners = planners.data(),
          .devices = devices.data(),
          .fusion_count = static_cast<std::uint32_t>(fusions.size()),
          .reserved = 0,
          .fusions = fusions.data()};
}

// Appends to `to`; counts only, where that is nullptr.
class ManifestWriter {
 public:
  constexpr explicit ManifestWriter(char* to) : to_(to) {}
  constexpr std::size_t bytes() const { return bytes_; }

  constexpr ManifestWriter& operator<<(std::string_view text) {
    if (to_ != nullptr) std::copy(text.begin(), text.end(), to_ + bytes_);
    bytes_ += text.size();
    return *this;
  }
  constexpr ManifestWriter& operator<<(std::uint32_t number) {
    if (number >= 10) *this << number / 10;
    const char digit = static_cast<char>('0' + number % 10);
    return *this << std::string_view(&digit, 1);
  }

 private:
  char* to_;
  std::size_t bytes_ = 0;
};

// The operators of a fusion's pattern, each once, as they first stand there: body(name).
template <class Body>
constexpr void for_each_operator(std::string_view pattern, Body&& body) {
  constexpr std::string_view kKey = "op: ";
  const auto ends = [](char c) { return c == ',' || c == '}' || c == ' ' || c == '\n'; };
  const auto name_at = [&](std::size_t at) {
    const std::string_view rest = pattern.substr(at + kKey.size());
    const auto* end = std::find_if(rest.begin(), rest.end(), ends);
    return rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
  };
  const auto next = [&](std::size_t from) {  // not the end of another word
    std::size_t at = pattern.find(kKey, from);
    while (at != pattern.npos && at > 0 && !ends(pattern[at - 1]) && pattern[at - 1] != '{') {
      at = pattern.find(kKey, at + 1);
    }
    return at;
  };
  for (std::size_t at = next(0); at != pattern.npos; at = next(at + 1)) {
    bool known = false;
    for (std::size_t b = next(0); b < at; b = next(b + 1)) known |= name_at(b) == name_at(at);
    if (!known) body(name_at(at));
  }
}

constexpr void write(ManifestWriter& to, const rt_schema& item) {
  to << "schema: " << item.op << "@" << item.version << "\n";
}
constexpr void write(ManifestWriter& to, const rt_implementation& item) {
  to << "implementation: " << item.op << "@" << item.op_version << " " << item.device_kind << " "
     << item.name << " " << (item.isa[0] == 0 ? "-" : item.isa) << "\n";
}
constexpr void write(ManifestWriter& to, const rt_fusion& item) {
  to << "fusion: " << item.op << "@" << item.version;
  for_each_operator(item.pattern, [&](std::string_view op) {
    to << " " << op << (op.find('@') == op.npos ? "@1" : "");
  });
  to << "\n";
}
constexpr void write(ManifestWriter& to, const rt_planner& item) {
  to << "planner: " << item.name << "\n";
}
constexpr void write(ManifestWriter& to, const rt_device& item) {
  to << "device: " << item.kind << "\n";
}

template <const auto&... kItems>
constexpr void write_manifest(ManifestWriter& to, std::string_view name, std::string_view version) {
  to << "plugin: " << name << "\nversion: " << version << "\nabi: " << RT_ABI_MAJOR << "."
     << RT_ABI_MINOR << "\nmin_host: " << RT_ABI_MAJOR << "." << kMinHostMinor << "\n";
  const auto add = [&](const auto& item) {
    for (const auto& one : each(item)) write(to, one);
  };
  (add(kItems), ...);
}

// What kWrite(ManifestWriter&) writes, with a NUL behind.
template <auto kWrite>
constexpr auto manifest() {
  constexpr std::size_t bytes = [] {
    ManifestWriter count(nullptr);
    kWrite(count);
    return count.bytes();
  }();
  std::array<char, bytes + 1> text{};
  ManifestWriter to(text.data());
  kWrite(to);
  return text;
}

}  // namespace rt::sdk

#define RT_LIBRARY(name, version, ...)                                                    \
  __attribute__((used, section(RT_MANIFEST_SECTION),                                      \
                 aligned(1))) static constexpr auto rt_manifest_text =                    \
      rt::sdk::manifest<[](rt::sdk::ManifestWriter& to) {                                 \
        rt::sdk::write_manifest<__VA_ARGS__>(to, name, version);                          \
      }>();                                                                               \
  extern "C" RT_EXPORT const rt_plugin* rt_plugin_entry_v1(const rt_host*, const char*) { \
    static constexpr rt_plugin plugin = rt::sdk::descriptor<__VA_ARGS__>(name, version);  \
    return &plugin;                                                                       \
  }
