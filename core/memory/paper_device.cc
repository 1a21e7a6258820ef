#include "core/memory/paper_device.h"

namespace rt {
namespace {

// Addresses differ from each other and from NULL; nothing is ever read through them.
struct Paper {
  std::uint64_t next = std::uint64_t{1} << 32;
};

rt_status open(const rt_host*, std::uint32_t, std::uint32_t, const rt_attr* const*, void** device) {
  *device = new Paper;
  return RT_OK;
}
void close(void* device) {
  delete static_cast<Paper*>(device);
}
rt_status take(void* device, std::uint64_t bytes, void** address) {
  Paper& paper = *static_cast<Paper*>(device);
  *address = reinterpret_cast<void*>(paper.next);
  paper.next += bytes;
  return RT_OK;
}
void give_back(void*, void*, std::uint64_t) {}
rt_status change(void*, void*, std::uint64_t) {
  return RT_OK;
}
rt_status make_ready(void*, std::uint64_t) {
  return RT_OK;
}
rt_status stream_create(void* device, void** stream) {
  *stream = device;
  return RT_OK;
}
void stream_destroy(void*, void*) {}
rt_status synchronize(void*, void*) {
  return RT_OK;
}
rt_status transfer(void*, void*, void*, const void*, std::uint64_t) {
  return RT_OK;
}

rt_device paper_api() {
  rt_device api{};
  api.struct_size = sizeof(rt_device);
  api.kind = "paper";
  api.summary = "addresses without memory";
  api.open = open;
  api.close = close;
  api.allocate = take;
  api.release = give_back;
  api.reserve = take;
  api.unreserve = give_back;
  api.commit = change;
  api.decommit = change;
  api.stream_create = stream_create;
  api.stream_destroy = stream_destroy;
  api.synchronize = synchronize;
  api.upload = transfer;
  api.download = transfer;
  api.copy = transfer;
  api.make_ready = make_ready;
  return api;
}

std::string no_text() {
  return "";
}

}  // namespace

Result<std::unique_ptr<OpenDevice>> open_paper_device(const KvProblem& problem) {
  static const rt_device api = paper_api();
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  desc.kind = api.kind;
  desc.name = api.summary;
  desc.isa = "";
  desc.can_reserve = problem.can_reserve ? 1 : 0;
  desc.can_make_ready = problem.can_make_ready ? 1 : 0;
  desc.granule_bytes = problem.granule_bytes;
  desc.alignment_bytes = problem.alignment_bytes;
  return OpenDevice::open(api, desc, {}, nullptr, no_text, UINT64_MAX);
}

}  // namespace rt
