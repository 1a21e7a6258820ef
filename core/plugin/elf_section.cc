#include "core/plugin/elf_section.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/owned_fd.h"
#include "core/base/text.h"

namespace rt {
namespace {

#if defined(__x86_64__)
constexpr std::uint16_t kHostMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t kHostMachine = EM_AARCH64;
#else
#error "name this machine's ELF e_machine value here"
#endif

std::string machine_name(std::uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "AArch64";
    case EM_386:
      return "x86 (32 bits)";
    case EM_RISCV:
      return "RISC-V";
    default:
      return "machine " + std::to_string(machine);
  }
}

// "[64, 128) of a file of 96 bytes".
std::string range_text(std::uint64_t offset, std::uint64_t bytes, std::uint64_t file_bytes) {
  return "at byte " + std::to_string(offset) + ", " + std::to_string(bytes) +
         " bytes long, in a file of " + std::to_string(file_bytes) + " bytes";
}

// An open library and its header. Every read is checked against the file's size.
class ElfFile {
 public:
  explicit ElfFile(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}

  Status start();
  Status check_segments() const;
  Result<std::string> section(std::string_view name, std::uint64_t limit_bytes) const;

 private:
  bool inside(std::uint64_t offset, std::uint64_t bytes) const {
    return offset <= file_bytes_ && bytes <= file_bytes_ - offset;
  }
  Status read(std::uint64_t offset, void* to, std::uint64_t bytes, const char* what) const;
  Status check_header() const;
  template <class Record>
  Result<std::vector<Record>> table(std::uint64_t offset, std::uint64_t count,
                                    std::uint64_t entry_bytes, std::uint64_t count_limit,
                                    const char* what) const;
  Result<std::string> names(const std::vector<Elf64_Shdr>& sections) const;

  OwnedFd fd_;
  std::uint64_t file_bytes_ = 0;
  Elf64_Ehdr header_{};
};

Status ElfFile::read(std::uint64_t offset, void* to, std::uint64_t bytes, const char* what) const {
  if (!inside(offset, bytes)) {
    return bad_input(std::string("its ") + what + " lies " +
                     range_text(offset, bytes, file_bytes_) + "; was the file cut short?");
  }
  auto* out = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t count = ::pread(fd_.get(), out, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return environment(std::string("cannot read: ") + std::strerror(errno));
    if (count == 0) return environment("was cut short while it was read");
    out += count;
    offset += static_cast<std::uint64_t>(count);
    bytes -= static_cast<std::uint64_t>(count);
  }
  return {};
}

Status ElfFile::start() {
  if (fd_.get() < 0) {
    const std::string message = std::string("cannot open: ") + std::strerror(errno);
    return errno == EACCES || errno == EMFILE ? environment(message) : bad_input(message);
  }
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) {
    return environment(std::string("cannot examine: ") + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) return bad_input("expected a regular file");
  file_bytes_ = static_cast<std::uint64_t>(status.st_size);
  char magic[SELFMAG] = {};
  const std::uint64_t magic_bytes = std::min<std::uint64_t>(file_bytes_, SELFMAG);
  RT_RETURN_IF_ERROR(read(0, magic, magic_bytes, "magic number"));
  if (std::memcmp(magic, ELFMAG, SELFMAG) != 0) {
    return bad_input("expected a shared library (ELF), found " +
                     (file_bytes_ == 0 ? std::string("an empty file")
                                       : "a file that begins with " +
                                             quote(std::string_view(magic, magic_bytes))));
  }
  RT_RETURN_IF_ERROR(read(0, &header_, sizeof header_, "ELF header"));
  return check_header();
}

Status ElfFile::check_header() const {
  if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB) {
    return bad_input("expected a 64-bit little-endian library, found ELF class " +
                     std::to_string(header_.e_ident[EI_CLASS]) + ", byte order " +
                     std::to_string(header_.e_ident[EI_DATA]));
  }
  if (header_.e_machine != kHostMachine) {
    return bad_input("expected a library for " + machine_name(kHostMachine) + ", found one for " +
                     machine_name(header_.e_machine) + "; build it for this machine");
  }
  if (header_.e_type != ET_DYN) {
    return bad_input("expected a shared library, found ELF type " + std::to_string(header_.e_type));
  }
  return {};
}

template <class Record>
Result<std::vector<Record>> ElfFile::table(std::uint64_t offset, std::uint64_t count,
                                           std::uint64_t entry_bytes, std::uint64_t count_limit,
                                           const char* what) const {
  if (count == 0) return bad_input(std::string("it has no ") + what);
  if (count > count_limit || entry_bytes != sizeof(Record)) {
    return bad_input(std::string("expected at most ") + std::to_string(count_limit) + " " + what +
                     " of " + std::to_string(sizeof(Record)) + " bytes, found " +
                     std::to_string(count) + " of " + std::to_string(entry_bytes));
  }
  // The range is checked before memory is asked for.
  if (!inside(offset, count * sizeof(Record))) {
    return bad_input(std::string("its table of ") + what + " lies " +
                     range_text(offset, count * sizeof(Record), file_bytes_) +
                     "; was the file cut short?");
  }
  std::vector<Record> records(count);
  RT_RETURN_IF_ERROR(read(offset, records.data(), count * sizeof(Record), what));
  return records;
}

// dlopen() maps these; touching one beyond the end of the file would be a SIGBUS.
Status ElfFile::check_segments() const {
  RT_TRY(const auto segments,
         table<Elf64_Phdr>(header_.e_phoff, header_.e_phnum, header_.e_phentsize,
                           kSegmentCountLimit, "program headers"));
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) continue;
    if (!inside(segment.p_offset, segment.p_filesz)) {
      return bad_input("a segment of it lies " +
                       range_text(segment.p_offset, segment.p_filesz, file_bytes_) +
                       "; was the file cut short?");
    }
  }
  return {};
}

Result<std::string> ElfFile::names(const std::vector<Elf64_Shdr>& sections) const {
  if (header_.e_shstrndx >= sections.size()) {
    return bad_input("its section names are in section " + std::to_string(header_.e_shstrndx) +
                     " of " + std::to_string(sections.size()));
  }
  const Elf64_Shdr& table = sections[header_.e_shstrndx];
  if (table.sh_type != SHT_STRTAB || table.sh_size > kSectionNamesLimitBytes) {
    return bad_input("its section names are no string table of at most " +
                     format_bytes(kSectionNamesLimitBytes));
  }
  if (!inside(table.sh_offset, table.sh_size)) {
    return bad_input("its table of section names lies " +
                     range_text(table.sh_offset, table.sh_size, file_bytes_) +
                     "; was the file cut short?");
  }
  std::string text(table.sh_size, '\0');
  RT_RETURN_IF_ERROR(read(table.sh_offset, text.data(), text.size(), "table of section names"));
  return text;
}

// True if the NUL-terminated string at `offset` of `names` is `name`.
bool is_named(const std::string& names, std::uint64_t offset, std::string_view name) {
  return offset < names.size() && name.size() < names.size() - offset &&
         names.compare(offset, name.size(), name) == 0 && names[offset + name.size()] == '\0';
}

Result<std::string> ElfFile::section(std::string_view name, std::uint64_t limit_bytes) const {
  RT_TRY(const auto sections,
         table<Elf64_Shdr>(header_.e_shoff, header_.e_shnum, header_.e_shentsize,
                           kSectionCountLimit, "section headers"));
  RT_TRY(const std::string all_names, names(sections));
  for (const Elf64_Shdr& section : sections) {
    if (!is_named(all_names, section.sh_name, name)) continue;
    const std::string what = "section " + std::string(name);
    if (section.sh_type != SHT_PROGBITS || section.sh_size > limit_bytes) {
      return bad_input("expected " + what + " to hold at most " + format_bytes(limit_bytes) +
                       " of data, found type " + std::to_string(section.sh_type) + ", " +
                       std::to_string(section.sh_size) + " bytes");
    }
    if (!inside(section.sh_offset, section.sh_size)) {
      return bad_input("its " + what + " lies " +
                       range_text(section.sh_offset, section.sh_size, file_bytes_) +
                       "; was the file cut short?");
    }
    std::string text(section.sh_size, '\0');
    RT_RETURN_IF_ERROR(read(section.sh_offset, text.data(), text.size(), what.c_str()));
    return text;
  }
  return bad_input("it has no section " + std::string(name) +
                   ": it is no plugin of this runtime (a plugin says RT_MANIFEST once)");
}

}  // namespace

Result<std::string> read_elf_section(const std::string& path, std::string_view name,
                                     std::uint64_t limit_bytes) {
  ElfFile file(path);
  if (Status status = file.start(); !status.ok()) return in(path, status.error());
  if (Status status = file.check_segments(); !status.ok()) return in(path, status.error());
  Result<std::string> text = file.section(name, limit_bytes);
  if (!text.ok()) return in(path, text.error());
  return text;
}

}  // namespace rt
