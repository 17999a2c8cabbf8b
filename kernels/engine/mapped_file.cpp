#include "engine/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "sterna/checksum.h"

namespace sterna {
namespace {

constexpr size_t kChunk = 256 * 1024;  // read at once: stays in L2 between copying and summing
constexpr uint64_t kLargest = uint64_t{1} << 40;

#ifdef MAP_POPULATE
constexpr int kFlags = MAP_PRIVATE | MAP_POPULATE;  // all of it was read a moment ago: no page is worth a fault of its own
#else
constexpr int kFlags = MAP_PRIVATE;
#endif

Status Damaged(const char* message) { return Status::Error(StatusCode::kDamagedFile, message); }

// False at an error or before the end.
bool ReadAt(int fd, uint64_t offset, uint8_t* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = pread(fd, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n, offset += static_cast<uint64_t>(n), bytes -= static_cast<size_t>(n);
  }
  return true;
}

Status Verify(const FileRange& range) {
  const std::unique_ptr<uint8_t[]> chunk(new (std::nothrow) uint8_t[kChunk]);
  if (chunk == nullptr) return Status::Error(StatusCode::kOutOfMemory, "memory to read the program's file could not be allocated");
  Checksum checksum;
  for (uint64_t at = 0; at < range.bytes;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kChunk, range.bytes - at));
    if (!ReadAt(range.fd, range.offset + at, chunk.get(), n)) return Damaged("the program's file cannot be read to its end");
    checksum.Add(chunk.get(), n);
    at += n;
  }
  return checksum.Finish() == range.checksum ? Status::Ok() : Damaged("the program's file does not have the bytes of its checksum");
}

}  // namespace

Status MappedFile::Open(const FileRange& range, std::unique_ptr<MappedFile>* file) {
  struct stat info;
  if (fstat(range.fd, &info) != 0 || info.st_size < 0) return Damaged("the program's file cannot be read");
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (range.bytes == 0 || range.bytes > kLargest || range.offset > size || range.bytes > size - range.offset) return Damaged("the program's file is shorter than it should be");
  const Status status = Verify(range);
  if (!status.ok()) return status;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t head = static_cast<size_t>(range.offset % page), mapped = head + static_cast<size_t>(range.bytes);
  void* map = mmap(nullptr, mapped, PROT_READ, kFlags, range.fd, static_cast<off_t>(range.offset - head));
  if (map == MAP_FAILED) return Status::Error(StatusCode::kOutOfMemory, "the program's file could not be mapped");
  file->reset(new MappedFile(static_cast<uint8_t*>(map), head, mapped));
  return Status::Ok();
}

MappedFile::~MappedFile() { munmap(map_, size_); }

}  // namespace sterna
