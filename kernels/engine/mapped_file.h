// A program in a file, mapped for reading.
//
// Every byte is read and compared with a checksum before anything is mapped: a bad sector is an error here, not a signal later. A
// mapped file must not be written or truncated in place (a page that is gone is a SIGBUS): whoever keeps programs in files replaces them
// by renaming, and removes them by unlinking, neither of which touches what is mapped (runtime/DECISIONS.md).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "sterna/status.h"

namespace sterna {

struct FileRange {
  int fd;  // the caller's; not needed after Open
  uint64_t offset, bytes;
  uint64_t checksum;  // of the range (sterna/checksum.h)
};

class MappedFile {
 public:
  // Errors: kDamagedFile, kOutOfMemory.
  static Status Open(const FileRange& range, std::unique_ptr<MappedFile>* file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return map_ + offset_; }
  size_t size() const { return size_ - offset_; }

 private:
  MappedFile(uint8_t* map, size_t offset, size_t size) : map_(map), offset_(offset), size_(size) {}
  uint8_t* map_;
  size_t offset_, size_;  // of the range in the mapping; of the mapping
};

}  // namespace sterna
