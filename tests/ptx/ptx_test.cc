// The machine that runs PTX: what its instructions do, against numbers worked out from NVIDIA's
// "Parallel Thread Execution ISA", and each thing that it does not let a kernel do.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "tests/ptx/kernel.h"

namespace ptx {
namespace {

constexpr const char* kHead = ".version 9.0\n.target sm_90\n.address_size 64\n";

// A kernel of one parameter, an address; %rd0 holds it, %r0 the thread, %rd1 = %rd0 + 4 thread.
std::string kernel_of(const std::string& body, const std::string& variables = "") {
  return kHead + variables +
         ".visible .entry k(.param .u64 k_param_0)\n{\n"
         ".reg .pred %p<8>;\n.reg .b16 %rs<8>;\n.reg .b32 %r<24>;\n.reg .f32 %f<16>;\n"
         ".reg .f64 %fd<8>;\n.reg .b64 %rd<8>;\n"
         "ld.param.u64 %rd0, [k_param_0];\nmov.u32 %r0, %tid.x;\n"
         "mul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd1, %rd0, %rd1;\n" +
         body + "\nret;\n}\n";
}

class Runner {
 public:
  explicit Runner(const std::string& text) : module_(text), function_(module_.entry("k")) {}

  void run(void* data, unsigned threads = 32, std::uint32_t dynamic = 0, bool early = false) {
    ASSERT_NE(function_, nullptr);
    Launch launch;
    launch.threads = threads;
    launch.dynamic_shared_bytes = dynamic;
    launch.starts_early = early;
    Warps warps = make_warps(*function_, threads);
    const auto address = reinterpret_cast<std::uint64_t>(data);
    run_block(module_, *function_, launch, {0, 0, 0},
              reinterpret_cast<const unsigned char*>(&address), warps, written);
  }
  Written written;

 private:
  Module module_;
  const Function* function_;
};

// What each of 32 threads leaves in %r1.
std::vector<std::uint32_t> results(const std::string& body, std::uint32_t dynamic = 0) {
  std::vector<std::uint32_t> out(32);
  const bool shared = dynamic > 0;
  Runner(kernel_of(body + "\nst.global.u32 [%rd1], %r1;",
                   shared ? ".extern .shared .align 16 .b8 all[];\n" : ""))
      .run(out.data(), 32, dynamic);
  return out;
}
std::uint32_t result(const std::string& body) {
  return results(body)[5];
}
float f32_result(const std::string& body) {
  const std::uint32_t bits = result(body + "\nmov.b32 %r1, %f1;");
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

TEST(Ptx, Integers) {
  EXPECT_EQ(result("add.s32 %r1, %r0, -7;"), 0xfffffffeu);
  EXPECT_EQ(result("mad.lo.s32 %r1, %r0, %r0, 3;"), 28u);
  EXPECT_EQ(result("mov.u32 %r2, 0xffffffff; mul.hi.u32 %r1, %r2, %r2;"), 0xfffffffeu);
  EXPECT_EQ(result("mov.u32 %r2, -8; shr.s32 %r1, %r2, 1;"), 0xfffffffcu);
  EXPECT_EQ(result("mov.u32 %r2, -8; shr.u32 %r1, %r2, 40;"), 0u);
  EXPECT_EQ(result("mov.u32 %r2, 0xff; bfi.b32 %r1, %r2, 0, 4, 3;"), 0x70u);
  EXPECT_EQ(result("mov.u32 %r2, -7; rem.s32 %r1, %r2, 4;"), 0xfffffffdu);
  EXPECT_EQ(result("mov.u32 %r2, 0xf0; popc.b32 %r3, %r2; clz.b32 %r4, %r2; add.s32 %r1, %r3, "
                   "%r4;"),
            28u);
  // Bytes 7 (of the second register), 0, and 4 with its sign spread, twice.
  EXPECT_EQ(result("mov.u32 %r2, 0x03020100; mov.u32 %r3, 0x77665584; prmt.b32 %r1, %r2, %r3, "
                   "0xcc07;"),
            0xffff0077u);
  EXPECT_EQ(result("mov.u32 %r2, 0x80000000; div.s32 %r1, %r2, -1;"), 0x80000000u);
  EXPECT_EQ(result("setp.lt.u32 %p1, %r0, 5; selp.b32 %r1, 1, 2, %p1;"), 2u);
  EXPECT_EQ(result("mov.b64 %rd2, {%r0, 9}; shl.b64 %rd2, %rd2, 1; mov.b64 {%r2, %r3}, %rd2; "
                   "add.s32 %r1, %r2, %r3;"),
            28u);
}

TEST(Ptx, Floats) {
  // 1 + 2^-23 squared less 1 + 2^-22: only a product that is not rounded leaves 2^-46.
  EXPECT_EQ(f32_result("mov.f32 %f2, 0f3F800001; fma.rn.f32 %f1, %f2, %f2, 0fBF800002;"),
            std::ldexp(1.0f, -46));
  // Towards minus infinity 1 - 2^-30 is the number below 1.
  EXPECT_EQ(f32_result("mov.f32 %f2, 0fB0800000; fma.rm.f32 %f1, %f2, 0f3F800000, 0f3F800000;"),
            std::nextafter(1.0f, 0.0f));
  EXPECT_EQ(f32_result("mov.f32 %f2, 0f7FC00000; max.f32 %f1, %f2, 0f40000000;"), 2.0f);
  EXPECT_EQ(f32_result("ex2.approx.ftz.f32 %f1, 0fC0400000;"), 0.125f);
  EXPECT_EQ(f32_result("ex2.approx.ftz.f32 %f1, 0fC3020000;"), 0.0f) << "2^-130 is flushed";
  EXPECT_EQ(f32_result("copysign.f32 %f1, 0fBF800000, 0f40000000;"), -2.0f);
  EXPECT_EQ(f32_result("cvt.sat.f32.f32 %f1, 0f40000000;"), 1.0f);
  EXPECT_EQ(f32_result("cvt.rn.f32.s32 %f1, -3;"), -3.0f);
  EXPECT_EQ(result("mov.f32 %f2, 0f7FC00000; setp.neu.f32 %p1, %f2, %f2; setp.ne.f32 %p2, %f2, "
                   "%f2; selp.b32 %r2, 2, 0, %p1; selp.b32 %r3, 1, 0, %p2; or.b32 %r1, %r2, %r3;"),
            2u)
      << "NaN is unordered to itself";
}

TEST(Ptx, HalvesOfARegister) {
  // The first operand is the upper half: 1 and 2.
  EXPECT_EQ(result("cvt.rn.bf16x2.f32 %r1, 0f3F800000, 0f40000000;"), 0x3f804000u);
  EXPECT_EQ(result("cvt.rn.f16x2.f32 %r1, 0f3F800000, 0f40000000;"), 0x3c004000u);
  EXPECT_EQ(result("mov.b32 {%rs1, %rs2}, 0x3c004000; mov.b32 %r1, {%rs2, %rs1};"), 0x40003c00u);
  EXPECT_EQ(f32_result("mov.u16 %rs1, 0x3c00; {cvt.f32.f16 %f1, %rs1;}"), 1.0f);
  EXPECT_EQ(result("mov.u16 %rs1, 0x8001; cvt.s32.s8 %r1, %rs1; mov.u16 %rs2, 0xff; cvt.s32.s8 "
                   "%r2, %rs2; add.s32 %r1, %r1, %r2;"),
            0u);
}

TEST(Ptx, LanesThatPartMeetAgain) {
  const auto out = results(
      "mov.u32 %r1, 0; and.b32 %r2, %r0, 3;\n"
      "$again: add.s32 %r1, %r1, 10; add.s32 %r2, %r2, -1; setp.ge.s32 %p1, %r2, 0;\n"
      "@%p1 bra $again;\n"
      "shfl.sync.bfly.b32 %r3|%p2, %r1, 1, 31, -1; add.s32 %r1, %r1, %r3;");
  for (unsigned i = 0; i < 32; ++i) {
    EXPECT_EQ(out[i], i % 4 < 2 ? 30u : 70u) << i;
  }
}

TEST(Ptx, Shuffles) {
  const auto up = results("shfl.sync.up.b32 %r1|%p1, %r0, 4, 0, -1;");
  const auto broadcast = results("shfl.sync.idx.b32 %r1|%p1, %r0, 7, 31, -1;");
  // Segments of 8: mask 0x18, clamp 31.
  const auto segments = results("shfl.sync.down.b32 %r1|%p1, %r0, 6, 0x181f, -1;");
  const auto votes = results("setp.gt.u32 %p1, %r0, 29; vote.sync.ballot.b32 %r1, %p1, -1;");
  for (unsigned i = 0; i < 32; ++i) {
    EXPECT_EQ(up[i], i < 4 ? i : i - 4);
    EXPECT_EQ(broadcast[i], 7u);
    EXPECT_EQ(segments[i], i % 8 < 2 ? i + 6 : i);
    EXPECT_EQ(votes[i], 0xc0000000u);
  }
}

// A is the unit matrix above and twice that below, B counts its rows: c is B's rows 0 to 15 doubled
// in the lower half.
TEST(Ptx, ProductOfMatrices) {
  const auto out = results(
      "shr.u32 %r2, %r0, 2; and.b32 %r3, %r0, 3; shl.b32 %r3, %r3, 1;\n"
      "setp.eq.s32 %p1, %r2, %r3; selp.b32 %r4, 0x3f80, 0, %p1;\n"
      "add.s32 %r5, %r3, 1; setp.eq.s32 %p2, %r2, %r5; selp.b32 %r6, 0x3f800000, 0, %p2;\n"
      "or.b32 %r7, %r4, %r6;\n"  // row g, columns 2 q and 2 q + 1, of a unit matrix
      "selp.b32 %r4, 0x4000, 0, %p1; selp.b32 %r6, 0x40000000, 0, %p2; or.b32 %r8, %r4, %r6;\n"
      "cvt.rn.f32.s32 %f2, %r3; cvt.rn.f32.s32 %f3, %r5;\n"
      "cvt.rn.bf16x2.f32 %r9, %f3, %f2;\n"
      "add.rn.f32 %f2, %f2, 0f41000000; add.rn.f32 %f3, %f3, 0f41000000;\n"
      "cvt.rn.bf16x2.f32 %r10, %f3, %f2;\n"
      "mov.f32 %f4, 0f3F000000; mov.f32 %f5, %f4; mov.f32 %f6, %f4; mov.f32 %f7, %f4;\n"
      "mov.u32 %r11, 0;\n"
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, "
      "{%r7, %r11, %r11, %r8}, {%r9, %r10}, {%f4, %f5, %f6, %f7};\n"
      "add.rn.f32 %f4, %f4, %f5; add.rn.f32 %f6, %f6, %f7; mul.rn.f32 %f6, %f6, 0f42C80000;\n"
      "add.rn.f32 %f4, %f4, %f6; cvt.rni.s32.f32 %r1, %f4;");
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned g = i / 4;
    EXPECT_EQ(out[i], 2 * g + 1 + 100 * (2 * 2 * (8 + g) + 1)) << i;
  }
}

// Four matrices of 8 x 8 one behind the other in shared memory, element e of it all being e.
TEST(Ptx, MatricesFromSharedMemory) {
  const std::string fill =
      "shl.b32 %r2, %r0, 4; mov.u32 %r3, all; add.s32 %r4, %r3, %r2;\n"
      "shl.b32 %r5, %r0, 3; mul.lo.s32 %r6, %r5, 0x10001; add.s32 %r6, %r6, 0x10000;\n"
      "add.s32 %r7, %r6, 0x20002; add.s32 %r8, %r6, 0x40004; add.s32 %r9, %r6, 0x60006;\n"
      "st.shared.v4.u32 [%r4], {%r6, %r7, %r8, %r9};\nbar.warp.sync -1;\n";
  const auto plain = results(
      fill + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r1, %r12}, [%r4];", 512);
  const auto transposed = results(
      fill + "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r10, %r11, %r1, %r12}, [%r4];", 512);
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned g = i / 4;
    const unsigned q = i % 4;
    const unsigned third = 2 * 64;
    EXPECT_EQ(plain[i], (third + 8 * g + 2 * q) * 0x10001 + 0x10000);
    EXPECT_EQ(transposed[i], (third + 8 * 2 * q + g) * 0x10001 + 0x80000);
  }
}

TEST(Ptx, CopiesAreThereWhenTheyAreWaitedFor) {
  std::vector<std::uint32_t> data(128);
  for (unsigned i = 0; i < 128; ++i) data[i] = i;
  Runner(kernel_of("mul.wide.u32 %rd2, %r0, 16; add.s64 %rd3, %rd0, %rd2;\n"
                   "shl.b32 %r2, %r0, 4; mov.u32 %r3, all; add.s32 %r4, %r3, %r2;\n"
                   "setp.lt.u32 %p1, %r0, 16; selp.b32 %r5, 16, 0, %p1;\n"
                   "cp.async.cg.shared.global [%r4], [%rd3], 16, %r5;\n"
                   "cp.async.commit_group;\ncp.async.wait_group 0;\n"
                   "ld.shared.u32 %r6, [%r4+8]; add.s32 %r6, %r6, 1000;\n"
                   "st.global.u32 [%rd1], %r6;",
                   ".extern .shared .align 16 .b8 all[];\n"))
      .run(data.data(), 32, 512);
  for (unsigned i = 0; i < 32; ++i) EXPECT_EQ(data[i], 1000 + (i < 16 ? 4 * i + 2 : 0));
}

// --- what ends the program

using PtxDeathTest = testing::Test;

void run_body(const std::string& body, unsigned threads = 32, bool early = false) {
  alignas(16) static std::uint32_t data[256] = {};
  Runner(kernel_of(body, ".extern .shared .align 16 .b8 all[];\n")).run(data, threads, 1024, early);
}

TEST(PtxDeathTest, Addresses) {
  EXPECT_DEATH(run_body("ld.global.u32 %r1, [%rd0+2];"), "not a multiple of 4");
  EXPECT_DEATH(run_body("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd0+8];"),
               "not a multiple of 16");
  EXPECT_DEATH(run_body("mov.u32 %r1, all; st.shared.u32 [%r1+1024], %r1;"),
               "shared memory at 1024 of 1024");
}

TEST(PtxDeathTest, WarpsThatDoNotWaitForEachOther) {
  // Each thread reads what the thread 32 further has written.
  const std::string write =
      "shl.b32 %r2, %r0, 2; mov.u32 %r3, all; add.s32 %r4, %r3, %r2; st.shared.u32 [%r4], %r0;\n";
  const std::string read =
      "xor.b32 %r5, %r2, 128; add.s32 %r6, %r3, %r5; ld.shared.u32 %r7, [%r6];";
  run_body(write + "bar.sync 0;\n" + read, 64);
  EXPECT_DEATH(run_body(write + read, 64), "that another warp has");
  const std::string first_lane = "and.b32 %r1, %r0, 31; setp.eq.u32 %p1, %r1, 0;\n@%p1 ";
  EXPECT_DEATH(run_body("mov.u32 %r3, all;\n" + first_lane + "st.shared.u32 [%r3], %r0;", 64),
               "that another warp has");
  EXPECT_DEATH(run_body("setp.lt.u32 %p1, %r0, 32; @%p1 bra $end; bar.sync 0; $end:", 64),
               "a barrier that some warps of the block never reach");
}

TEST(PtxDeathTest, LanesThatDoNotWaitForEachOther) {
  const std::string write =
      "shl.b32 %r2, %r0, 2; mov.u32 %r3, all; add.s32 %r4, %r3, %r2; st.shared.u32 [%r4], %r0;\n";
  const std::string read =
      "xor.b32 %r5, %r2, 4; add.s32 %r6, %r3, %r5; ld.shared.u32 %r7, [%r6];\n";
  const std::string again = "st.shared.u32 [%r4], %r7;\n";
  const std::string barrier = "bar.warp.sync -1;\n";
  run_body(write + barrier + read + barrier + again);
  run_body(write + again);
  EXPECT_DEATH(run_body(write + read), "read that another lane has written");
  EXPECT_DEATH(run_body(write + barrier + read + again), "written that another lane has used");
  EXPECT_DEATH(run_body(write + "shfl.sync.bfly.b32 %r8|%p1, %r0, 1, 31, -1;\n" + read),
               "read that another lane has written");
  EXPECT_DEATH(run_body("mov.u32 %r3, all; st.shared.u32 [%r3], %r0;"), "another lane has used");
  // Two halves of a word are two lanes' own, all of it is not.
  const std::string halves =
      "shl.b32 %r2, %r0, 1; mov.u32 %r3, all; add.s32 %r4, %r3, %r2; st.shared.u16 [%r4], %rs1;\n";
  run_body(halves);
  EXPECT_DEATH(run_body(halves + "and.b32 %r4, %r4, -4; ld.shared.u32 %r7, [%r4];"),
               "read that another lane has written");
}

TEST(PtxDeathTest, LanesThatDoNotComeTogether) {
  EXPECT_DEATH(run_body("setp.lt.u32 %p1, %r0, 16; @%p1 bra $end;\n"
                        "shfl.sync.bfly.b32 %r1|%p2, %r0, 1, 31, -1; $end:"),
               "lanes wait for lanes that have ended|lanes that wait elsewhere");
  EXPECT_DEATH(run_body("setp.lt.u32 %p1, %r0, 16; @%p1 bra $low;\nbar.warp.sync -1; bra $end;\n"
                        "$low: bar.warp.sync -1; $end:"),
               "lanes that wait elsewhere");
}

TEST(PtxDeathTest, CopiesThatAreNotWaitedFor) {
  const std::string copy =
      "shl.b32 %r2, %r0, 4; cvt.u64.u32 %rd2, %r2; add.s64 %rd3, %rd0, %rd2;\n"
      "mov.u32 %r3, all; add.s32 %r4, %r3, %r2; mov.u32 %r5, 16;\n"
      "cp.async.cg.shared.global [%r4], [%rd3], 16, %r5; cp.async.commit_group;\n";
  EXPECT_DEATH(run_body(copy + "cp.async.wait_group 1; ld.shared.u32 %r6, [%r4];"),
               "that its lane has not waited for");
  // Waited for, but by another warp than that which reads.
  const std::string read =
      "xor.b32 %r7, %r2, 512; add.s32 %r8, %r3, %r7; ld.shared.u32 %r9, [%r8];";
  run_body(copy + "cp.async.wait_group 0; bar.sync 0;\n" + read, 64);
  EXPECT_DEATH(run_body(copy + "bar.sync 0; cp.async.wait_group 0;\n" + read, 64),
               "has not waited for|another warp has written");
}

TEST(PtxDeathTest, KernelsThatStartEarly) {
  const std::string wait = "griddepcontrol.launch_dependents; griddepcontrol.wait;\n";
  run_body(wait + "st.global.u32 [%rd1], %r0;", 32, true);
  EXPECT_DEATH(run_body("st.global.u32 [%rd1], %r0;\n" + wait, 32, true),
               "a store before griddepcontrol.wait");
  EXPECT_DEATH(run_body("mov.u32 %r1, 0;", 32, true), "ends without griddepcontrol.wait");
  std::uint32_t data[32] = {};
  Runner reads(kernel_of("ld.global.u32 %r1, [%rd1];\n" + wait));
  reads.run(data, 32, 0, true);
  reads.written.add(data, 4);  // as a kernel in front would have
  EXPECT_DEATH(reads.run(data, 32, 0, true), "may still be writing");
  reads.written.forget();  // it has been waited for
  reads.run(data, 32, 0, true);
}

TEST(PtxDeathTest, InstructionsThatAreNotKnown) {
  run_body("bra $end; add.cc.u32 %r1, %r1, %r1; $end:");  // not reached
  EXPECT_DEATH(run_body("add.cc.u32 %r1, %r1, %r1;"), "not emulated(.|\n)*line 1[0-9]: .*add.cc");
}

// What would otherwise be run as something near it.
TEST(PtxDeathTest, VariantsThatAreNotKnown) {
  EXPECT_DEATH(run_body("add.rz.f32 %f1, %f2, %f3;"), "not emulated");
  EXPECT_DEATH(run_body("max.NaN.f32 %f1, %f2, %f3;"), "not emulated");
  EXPECT_DEATH(run_body("rcp.rm.f32 %f1, %f2;"), "not emulated");
  EXPECT_DEATH(run_body("bar.sync 1, 64;", 64), "not emulated");
  EXPECT_DEATH(run_body("mov.u32 %r1, %clock;"), "not emulated");
  EXPECT_DEATH(run_body("bra $nowhere;"), "no label [$]nowhere");
}

TEST(PtxDeathTest, TextThatIsNoProgram) {
  EXPECT_EQ(Module("").entry("k"), nullptr);
  EXPECT_EQ(Module(kernel_of("")).entry("another"), nullptr);
  EXPECT_DEATH(Module(".entry k(.param .u64 a)").entry("k"), "an entry without a body: k");
  EXPECT_DEATH(Module(".entry k(.param .u64 a) { ret;").entry("k"), "a body that does not end");
}

}  // namespace
}  // namespace ptx
