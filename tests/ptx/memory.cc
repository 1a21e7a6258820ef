// Loads, stores, what is atomic, copies behind a lane's back, and where control goes.
#include "tests/ptx/lanes.h"
#include "tests/ptx/operations.h"

namespace ptx {
namespace {

// Parameters and a lane's own memory are nobody else's.
bool is_common(const Instruction& i) {
  return i.space != Space::kLocal && i.space != Space::kParam;
}

template <class T, unsigned kCount>
void load(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const unsigned char* const from = warp.address(i, i.from[0], lane, sizeof(T) * kCount);
    if (is_common(i)) warp.loads(lane, from, sizeof(T) * kCount);
    T values[kCount];
    std::memcpy(values, from, sizeof values);
    for (unsigned k = 0; k < kCount; ++k) {
      put<T>(warp.at(i.to[k], lane), values[k], i.to[k].stride);
    }
  });
}
// From an address that is the same for all lanes, of a parameter.
template <class T, unsigned kCount>
void load_once(Warp& warp, const Instruction& i) {
  const unsigned char* const from = warp.address(i, i.from[0], 0, sizeof(T) * kCount);
  for (unsigned k = 0; k < kCount; ++k) {
    const T value = get<T>(from + k * sizeof(T));
    unsigned char* const to = warp.at(i.to[k], 0);
    const std::uint32_t stride = i.to[k].stride;
    for_each_lane(warp.mask, [=](unsigned lane) { put<T>(to + lane * stride, value, stride); });
  }
}
template <class T, unsigned kCount>
void store(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    unsigned char* const to = warp.address(i, i.from[0], lane, sizeof(T) * kCount);
    if (is_common(i)) warp.stores(lane, to, sizeof(T) * kCount);
    for (unsigned k = 0; k < kCount; ++k) {
      std::memcpy(to + k * sizeof(T), warp.at(i.from[1 + k], lane), sizeof(T));
    }
  });
}
void atomic_add(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    unsigned char* const at = warp.address(i, i.from[0], lane, 4);
    if (i.space != Space::kShared) warp.stores(lane, at, 4);  // there warps may meet
    const auto before = get<std::uint32_t>(at);
    put<std::uint32_t>(at, before + get<std::uint32_t>(warp.at(i.from[1], lane)), 4);
    put<std::uint32_t>(warp.at(i.to[0], lane), before, 4);
  });
}

// from: where to in shared memory, where from, how many bytes there are (none: zeros).
void copy_async(Warp& warp, const Instruction& i) {
  Instruction source = i;
  source.space = Space::kGlobal;
  for_each_lane(warp.mask, [&](unsigned lane) {
    unsigned char* const to = warp.address(i, i.from[0], lane, 16);
    const auto bytes = get<std::uint32_t>(warp.at(i.from[2], lane));
    if (bytes != 0 && bytes != 16) warp.die("cp.async of neither 0 nor 16 bytes");
    const unsigned char* const from = warp.address(source, i.from[1], lane, 16);
    if (bytes != 0) warp.loads(lane, from, 16);
    warp.begin_copy(lane, to, from, bytes != 0);
  });
}
void begin_group(Warp& warp, const Instruction&) {
  for_each_lane(warp.mask, [&](unsigned lane) { warp.begin_group(lane); });
}
void wait_for_groups(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) { warp.wait_for_groups(lane, i.count); });
}

// Addresses in a space, and among all: "cvta.shared" makes the latter of the former.
template <Space kSpace, bool kToSpace>
void convert_address(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const auto base = kSpace == Space::kShared
                          ? reinterpret_cast<std::uint64_t>(warp.block().shared.base())
                      : kSpace == Space::kLocal ? reinterpret_cast<std::uint64_t>(warp.local(lane))
                                                : 0;
    const auto from = get<std::uint64_t>(warp.at(i.from[0], lane));
    put<std::uint64_t>(warp.at(i.to[0], lane), kToSpace ? from - base : from + base, 8);
  });
}

void nothing(Warp&, const Instruction&) {}
void after_previous(Warp& warp, const Instruction&) {
  warp.after_previous();
}

void branch(Warp& warp, const Instruction& i) {
  warp.jump(i.target);
}
void end(Warp& warp, const Instruction&) {
  warp.end_lanes();
}

unsigned count_of(const Name& name) {
  return has(name, "v4") ? 4 : has(name, "v2") ? 2 : 1;
}

template <unsigned kCount>
Run find_access(const Name& name, bool one_address) {
  const bool stores = name[0] == "st";
  return for_number(name.back(), [=]<class T>() -> Run {
    return stores ? &store<T, kCount> : one_address ? &load_once<T, kCount> : Run{&load<T, kCount>};
  });
}

Run find_atomic(const Name& name) {
  const bool adds = name.size() == 4 && name[2] == "add" && name[3] == "u32";
  return adds ? &atomic_add : nullptr;
}

Run find_copy(const Name& name) {
  if (name.size() < 3 || name[1] != "async") return nullptr;
  if (name[2] == "commit_group") return &begin_group;
  if (name[2] == "wait_group") return &wait_for_groups;
  return name.size() == 5 && name[2] == "cg" ? &copy_async : nullptr;
}

}  // namespace

Run find_access(const Name& name, bool one_address) {
  if (name[0] != "ld" && name[0] != "st") return nullptr;
  if (name[0] == "st" && has(name, "param")) return nullptr;  // of a call
  switch (count_of(name)) {
    case 1:
      return find_access<1>(name, one_address);
    case 2:
      return find_access<2>(name, one_address);
    default:
      return find_access<4>(name, one_address);
  }
}

Run find_memory(const Name& name) {
  if (name[0] == "ld" || name[0] == "st") return find_access(name, false);
  if (name[0] == "atom") return find_atomic(name);
  if (name[0] == "cp") return find_copy(name);
  // What one block writes the next one sees: blocks run one after another.
  if (name[0] == "membar" || name[0] == "fence" || name[0] == "prefetch") return &nothing;
  return nullptr;
}

Run find_address_conversion(const Name& name) {
  const bool to_space = name.size() == 4 && name[1] == "to";
  if (name.back() != "u64" || (name.size() != 3 && !to_space)) return nullptr;
  const std::string_view space = name[name.size() - 2];
  if (space == "global" || space == "const") {
    return to_space ? &convert_address<Space::kGlobal, true>
                    : &convert_address<Space::kGlobal, false>;
  }
  if (space == "shared") {
    return to_space ? &convert_address<Space::kShared, true>
                    : &convert_address<Space::kShared, false>;
  }
  if (space != "local") return nullptr;
  return to_space ? &convert_address<Space::kLocal, true> : &convert_address<Space::kLocal, false>;
}

Run find_control(const Name& name) {
  if (name[0] == "bra") return &branch;
  if (name[0] == "ret" || name[0] == "exit") return &end;
  if (name[0] != "griddepcontrol" || name.size() != 2) return nullptr;
  if (name[1] == "wait") return &after_previous;
  return name[1] == "launch_dependents" ? &nothing : nullptr;
}

}  // namespace ptx
