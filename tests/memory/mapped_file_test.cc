// Mapping, what is not a regular file, changes under a mapping, and the end of a process whose
// file was cut.
#include "core/memory/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "tests/memory/scratch_folder.h"

namespace {

using rt::ByteRange;
using rt::Fault;
using rt::MappedFile;
using rt_test::ScratchFolder;

TEST(MappedFile, HoldsTheFilesBytes) {
  const ScratchFolder scratch;
  const std::string path = scratch.write("f", "seven b");
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->text(), "seven b");
  EXPECT_EQ(file->size(), 7u);
  EXPECT_EQ(file->path(), path);
  MappedFile moved = std::move(*file);
  EXPECT_EQ(moved.text(), "seven b");
  moved = MappedFile();
  EXPECT_EQ(moved.data(), nullptr);
}

TEST(MappedFile, MapsAnEmptyFileAsNothing) {
  const ScratchFolder scratch;
  auto file = MappedFile::open(scratch.write("f", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 0u);
  EXPECT_EQ(file->text(), "");
  EXPECT_TRUE(file->check_unchanged().ok());
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const ScratchFolder scratch;
  ASSERT_EQ(::mkfifo(scratch.at("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("nowhere", scratch.path() / "dangling");
  std::filesystem::create_symlink("loop", scratch.path() / "loop");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, scratch.at("socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

  EXPECT_REFUSED(MappedFile::open(scratch.at("fifo")), Fault::kBadInput, "fifo", "regular file");
  EXPECT_REFUSED(MappedFile::open(scratch.at("socket")), Fault::kBadInput, "socket");
  EXPECT_REFUSED(MappedFile::open("/dev/zero"), Fault::kBadInput, "/dev/zero", "device");
  EXPECT_REFUSED(MappedFile::open(scratch.path().string()), Fault::kBadInput, "found a folder");
  EXPECT_REFUSED(MappedFile::open(scratch.at("dangling")), Fault::kBadInput, "no such file");
  EXPECT_REFUSED(MappedFile::open(scratch.at("loop")), Fault::kBadInput, "circle");
  EXPECT_REFUSED(MappedFile::open(scratch.write("f", "x") + "/g"), Fault::kBadInput,
                 "not a folder");
  EXPECT_REFUSED(MappedFile::open(scratch.at(std::string(300, 'n'))), Fault::kBadInput, "too long");
  ::close(fd);
}

TEST(MappedFile, SaysThatItMayNotRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const ScratchFolder scratch;
  const std::string path = scratch.write("f", "x");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_REFUSED(MappedFile::open(path), Fault::kEnvironment, path, "permission denied");
}

TEST(MappedFile, NamesTheLimitBehindAnErrno) {
  EXPECT_EQ(rt::open_error("f", EACCES).fault, Fault::kEnvironment);
  EXPECT_NE(rt::open_error("f", EACCES).message.find("chmod"), std::string::npos);
  EXPECT_EQ(rt::open_error("f", EMFILE).fault, Fault::kEnvironment);
  EXPECT_NE(rt::open_error("f", EMFILE).message.find("ulimit -n"), std::string::npos);
  EXPECT_EQ(rt::open_error("f", EIO).fault, Fault::kEnvironment);
  EXPECT_EQ(rt::open_error("f", ENXIO).fault, Fault::kBadInput);
}

TEST(MappedFile, FindsChanges) {
  const ScratchFolder scratch;
  const std::string path = scratch.write("f", "0123456789");
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->check_unchanged().ok());

  timespec times[2] = {{0, UTIME_OMIT}, {1234567890, 5}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_REFUSED(file->check_unchanged(), Fault::kEnvironment, path, "written to");

  ASSERT_EQ(::truncate(path.c_str(), 4), 0);
  EXPECT_REFUSED(file->check_unchanged(), Fault::kEnvironment, path, "expected 10", "found 4");
}

TEST(MappedFile, KeepsTheOldBytesOfAReplacedOrRenamedFile) {
  const ScratchFolder scratch;
  const std::string path = scratch.write("model/f", "old");
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::rename(scratch.path() / "model", scratch.path() / "away");
  EXPECT_TRUE(file->check_unchanged().ok());
  EXPECT_EQ(file->text(), "old");
  scratch.write("model/f", "new");
  EXPECT_REFUSED(file->check_unchanged(), Fault::kEnvironment, path, "replaced");
  EXPECT_EQ(file->text(), "old");
}

TEST(ReadAhead, ReadsEveryRangeAndTellsOnTheCallingThread) {
  const ScratchFolder scratch;
  const std::uint64_t size = (std::uint64_t{40} << 20) + 123;
  const std::string path = scratch.write("f", "");
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(size)), 0);
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  const std::vector<ByteRange> ranges{
      {file->data() + 5, 10}, {file->data() + 9999, 0}, {file->data() + 100'000, size - 100'000}};
  for (const int threads : {0, 1, 3, 64}) {
    std::vector<std::uint64_t> told;
    std::uint64_t total = 0;
    std::set<std::thread::id> tellers;
    const auto status = rt::read_ahead(ranges, threads, [&](std::uint64_t done, std::uint64_t of) {
      told.push_back(done);
      total = of;
      tellers.insert(std::this_thread::get_id());
    });
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_FALSE(told.empty());
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
    EXPECT_EQ(told.back(), total);
    EXPECT_GE(total, size - 100'000);
    EXPECT_EQ(tellers, std::set<std::thread::id>{std::this_thread::get_id()});
  }
  std::vector<unsigned char> resident((size + 4095) / 4096);
  ASSERT_EQ(::mincore(const_cast<std::byte*>(file->data()), size, resident.data()), 0);
  for (std::size_t page = 25; page < resident.size(); ++page) {
    ASSERT_TRUE(resident[page] & 1) << page;
  }
  EXPECT_TRUE(rt::read_ahead({}, 2, nullptr).ok());
}

void cut(const std::string& path, off_t bytes) {
  if (::truncate(path.c_str(), bytes) != 0) std::abort();
}

// Read through a volatile pointer, as a kernel would: the compiler must not drop it.
int read_byte(const std::byte* at) {
  return static_cast<int>(*static_cast<const volatile std::byte*>(at));
}

class FaultGuardDeathTest : public testing::Test {
 protected:
  FaultGuardDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  ScratchFolder scratch_;
  std::string path_ = scratch_.write("model.safetensors", std::string(3 * 4096, 'x'));
};

TEST_F(FaultGuardDeathTest, NamesFileAndTensorOfACutFile) {
  const auto die = [this] {
    auto file = MappedFile::open(path_);
    file->guard().name_tensors({{0, 0, "empty"}, {0, 8192, "first"}, {8192, 12288, "sec\nond"}});
    cut(path_, 4096);
    read_byte(file->data() + 10000);
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(3),
              "runtime: .*model.safetensors: tensor 'sec.ond': the file was cut short while it was "
              "in use \\(expected 12288 bytes, found 4096\\)");
}

TEST_F(FaultGuardDeathTest, NamesTheFileWhereNoTensorIsKnown) {
  const auto die = [this] {
    auto file = MappedFile::open(path_);
    auto other = MappedFile::open(scratch_.write("other", "o"));
    file->guard().name_tensors({{8192, 12288, "second"}});
    cut(path_, 4096);
    std::filesystem::remove(path_);
    read_byte(file->data() + 5000);
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(3),
              "model.safetensors: the file was cut short while it was in use .expected 12288 "
              "bytes.; ");
}

TEST_F(FaultGuardDeathTest, WorksInEveryThread) {
  const auto die = [this] {
    auto file = MappedFile::open(path_);
    cut(path_, 0);
    std::thread([&] { read_byte(file->data()); }).join();
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(3), "model.safetensors: the file was cut short");
}

TEST_F(FaultGuardDeathTest, FollowsAMovedMapping) {
  const auto die = [this] {
    auto file = MappedFile::open(path_);
    std::vector<MappedFile> files;
    for (int i = 0; i < 20; ++i) files.push_back(MappedFile::open(path_).value());
    files.push_back(std::move(*file));
    files.erase(files.begin(), files.begin() + 20);
    cut(path_, 0);
    read_byte(files[0].data());
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(3), "model.safetensors: the file was cut short");
}

// A mapping that nobody guards, cut the same way.
void fault_elsewhere(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  void* address = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  cut(path, 0);
  read_byte(static_cast<const std::byte*>(address));
}

TEST_F(FaultGuardDeathTest, LeavesOtherFaultsToTheSystem) {
  const auto die = [this] {
    ::signal(SIGBUS, SIG_DFL);  // not the sanitizer's
    auto file = MappedFile::open(path_);
    fault_elsewhere(scratch_.write("other", std::string(4096, 'o')));
  };
  EXPECT_EXIT(die(), testing::KilledBySignal(SIGBUS), "");
  const auto raise = [this] {
    ::signal(SIGBUS, SIG_DFL);
    auto file = MappedFile::open(path_);
    ::raise(SIGBUS);
  };
  EXPECT_EXIT(raise(), testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardDeathTest, LeavesOtherFaultsToTheEarlierHandler) {
  const auto plain = [this] {
    ::signal(SIGBUS, [](int) { ::_exit(41); });
    auto file = MappedFile::open(path_);
    fault_elsewhere(scratch_.write("other", std::string(4096, 'o')));
  };
  EXPECT_EXIT(plain(), testing::ExitedWithCode(41), "");
  const auto with_address = [this] {
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
      ::_exit(info->si_addr != nullptr ? 42 : 1);
    };
    ::sigaction(SIGBUS, &action, nullptr);
    auto file = MappedFile::open(path_);
    fault_elsewhere(scratch_.write("other", std::string(4096, 'o')));
  };
  EXPECT_EXIT(with_address(), testing::ExitedWithCode(42), "");
  const auto ignored = [this] {
    ::signal(SIGBUS, SIG_IGN);
    auto file = MappedFile::open(path_);
    ::raise(SIGBUS);
    ::_exit(43);
  };
  EXPECT_EXIT(ignored(), testing::ExitedWithCode(43), "");
}

TEST_F(FaultGuardDeathTest, ReadAheadOfACutFileIsAnErrorOrTheSentence) {
  const auto run = [this] {
    auto file = MappedFile::open(path_);
    cut(path_, 4096);
    const ByteRange all{file->data(), file->size()};
    const auto status = rt::read_ahead({&all, 1}, 2, nullptr);
    std::fprintf(stderr, "%s\n", status.ok() ? "read" : status.error().message.c_str());
    ::_exit(status.ok() ? 0 : 3);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(3), "cut short while it was");
}

// Guards come and go in one thread while another makes its own; for the thread sanitizer.
TEST(FaultGuard, ManyThreadsMakeAndDropGuards) {
  const ScratchFolder scratch;
  const std::string path = scratch.write("f", "text");
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        auto file = MappedFile::open(path);
        if (!file.ok()) continue;
        file->guard().name_tensors({{0, 4, "t"}});
        good += file->text() == "text";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 800);
}

}  // namespace
