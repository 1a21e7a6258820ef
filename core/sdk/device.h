/* The plugin boundary, part 3 of 5: a device.
 *
 * A device gives memory, streams, transfers and, on CPUs, a thread pool. It never runs an operator
 * by name: implementations do, on the stream they are given.
 *
 * Memory comes in two kinds: plain allocations, and reserved address space that is committed and
 * decommitted in granules without its addresses changing. Every byte is asked for by the host,
 * which keeps the ledger; a device allocates nothing on its own account that grows with use.
 *
 * Threads: an opened device is used from one thread at a time, except parallel_for's workers. What
 * a device does on threads of its own (make_ready) ends before the call that ends it returns.
 */
#ifndef RUNTIME_SDK_DEVICE_H
#define RUNTIME_SDK_DEVICE_H

#include "core/sdk/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A device in numbers. Plans are made from this alone, so a plan can be made for a machine that is
 * not this one. The host sets struct_size and zeroes the rest; describe() fills what struct_size
 * covers and never assigns the struct whole, whose size may be another. The host refuses a
 * description that it could not plan with, with a sentence. */
typedef struct rt_device_desc {
  uint32_t struct_size;
  uint32_t index;           /* among devices of its kind */
  const char* kind;         /* "cpu", "cuda", ...: implementations name it */
  const char* name;         /* for people: "AMD EPYC 7763" */
  const char* isa;          /* "avx2,fma,f16c,...", "cublaslt": what implementations may require */
  uint32_t threads;         /* of parallel_for; 0 where there is none */
  uint32_t host_readable;   /* 1: the host may read and write device addresses */
  uint32_t can_reserve;     /* 1: reserve/commit/decommit work */
  uint32_t can_capture;     /* 1: streams can be recorded and replayed */
  uint64_t granule_bytes;   /* commits are whole multiples of it; a power of two */
  uint64_t alignment_bytes; /* of allocations and of KV sections; a power of two */
  uint64_t memory_total_bytes;
  uint64_t memory_available_bytes; /* at the time of describe() */
  rt_dtype value_dtype;            /* element type of values between operators: RT_F32 on CPUs */
  uint32_t can_make_ready;         /* 1: make_ready works; wants can_reserve */
} rt_device_desc;

/* Runs [begin, end) of a parallel loop; worker is in [0, threads). Must not throw. */
typedef void (*rt_range_fn)(void* arg, uint64_t begin, uint64_t end, uint32_t worker);

/* What an implementation runs on. */
typedef struct rt_exec {
  uint32_t struct_size;
  uint32_t threads;
  void* device;
  void* stream;
  /* CPU devices only, else NULL. Splits [0, count) into ranges that are multiples of `grain` (but
   * for the last), runs them on the pool and on the caller, returns when all are done. Not
   * nestable. */
  void (*parallel_for)(void* device, uint64_t count, uint64_t grain, rt_range_fn fn, void* arg);
} rt_exec;

/* [open thread] is the thread that called open; [any] any one thread at a time. Functions return
 * RT_DEVICE_FAULT once the device is beyond use. NULL members mean "cannot" and agree with desc. */
typedef struct rt_device {
  uint32_t struct_size;
  uint32_t reserved;
  const char* kind;
  const char* summary;
  uint32_t option_count;
  uint32_t reserved2;
  const rt_attr_spec* const* options; /* e.g. threads */

  /* How many devices of this kind are there, and what is each? No device is opened or touched. */
  rt_status (*count)(const rt_host* host, uint32_t* count);
  rt_status (*describe)(const rt_host* host, uint32_t index, uint32_t option_count,
                        const rt_attr* const* options, rt_device_desc* desc);

  rt_status (*open)(const rt_host* host, uint32_t index, uint32_t option_count,
                    const rt_attr* const* options, void** device);
  void (*close)(void* device);

  /* Plain memory, aligned to desc.alignment_bytes, content undefined. */
  rt_status (*allocate)(void* device, uint64_t bytes, void** address);
  void (*release)(void* device, void* address, uint64_t bytes);

  /* Address space. All offsets and sizes are multiples of the granule; commit makes
   * [address, address + bytes) usable (content undefined), decommit gives it back. Committing what
   * is committed, or decommitting what is not, is a mistake of the caller. decommit and unreserve
   * are called only when no recorded work that uses the range is pending (the host synchronises).
   */
  rt_status (*reserve)(void* device, uint64_t bytes, void** base);
  void (*unreserve)(void* device, void* base, uint64_t bytes);
  rt_status (*commit)(void* device, void* address, uint64_t bytes);
  rt_status (*decommit)(void* device, void* address, uint64_t bytes);

  /* Bytes of [address, address + bytes) that the operating system says are resident; a witness for
   * tests. NULL where there is none. */
  rt_status (*resident)(void* device, const void* address, uint64_t bytes,
                        uint64_t* resident_bytes);

  /* Streams: work runs in order within one. The device makes at least one. */
  rt_status (*stream_create)(void* device, void** stream);
  void (*stream_destroy)(void* device, void* stream);
  rt_status (*synchronize)(void* device, void* stream);

  /* Transfers, ordered on the stream. The host keeps `host` memory alive and unchanged until the
   * stream has passed the transfer. */
  rt_status (*upload)(void* device, void* stream, void* to_device, const void* from_host,
                      uint64_t bytes);
  rt_status (*download)(void* device, void* stream, void* to_host, const void* from_device,
                        uint64_t bytes);
  rt_status (*copy)(void* device, void* stream, void* to_device, const void* from_device,
                    uint64_t bytes);

  /* Recording: work put on the stream between begin and end is kept, not run. A graph is replayed
   * with the addresses and counts it was recorded with. */
  rt_status (*capture_begin)(void* device, void* stream);
  rt_status (*capture_end)(void* device, void* stream, void** graph);
  rt_status (*replay)(void* device, void* stream, void* graph);
  void (*graph_destroy)(void* device, void* graph);

  /* See rt_exec; NULL on devices that are not CPUs. */
  void (*parallel_for)(void* device, uint64_t count, uint64_t grain, rt_range_fn fn, void* arg);

  /* Memory made ahead of the commits that will want it, where making it is slow (cuMemCreate) and
   * giving it an address is not. `bytes`, a multiple of the granule, are to be ready from now on,
   * in place of what was asked for before; a thread of the device's own makes them, and the call
   * does not wait for it. What is over is given back before the call returns: 0 gives back
   * everything, as close does. A commit takes what is ready and makes the rest at once. What it
   * takes is not made again until the host asks again, so the device never holds more than was
   * asked for and committed together, and the host charges both. Memory that is not to be had is no
   * refusal here: the thread gives up until it is asked again, and the commit tries itself. NULL:
   * cannot. */
  rt_status (*make_ready)(void* device, uint64_t bytes);

  /* A download in two halves, so that the host reads what a step gave while the next one, put on
   * the stream behind it, runs. download_begin puts it on the stream and does not wait;
   * download_end waits until the stream has passed it, and for nothing behind it, and writes
   * to_host. At most two are under way at a time and are ended in the order in which they were
   * begun, also by an end that fails; neither stands in a recording. bytes <=
   * RT_BEGUN_DOWNLOAD_BYTES, the same in both halves. Not asked for where the host reads the memory
   * itself. NULL, both of them: cannot; the host waits for the whole stream before it puts more on
   * it. */
  rt_status (*download_begin)(void* device, void* stream, const void* from_device, uint64_t bytes);
  rt_status (*download_end)(void* device, void* to_host, uint64_t bytes);
} rt_device;

/* The ids of 1024 rows: what comes back from a step. */
#define RT_BEGUN_DOWNLOAD_BYTES 4096u

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_DEVICE_H */
