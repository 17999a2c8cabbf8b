// Memory that a loaded program owns: 64-byte aligned blocks, allocated at load and never after, within one limit.
//
// Large blocks are mapped, not taken from the heap: closing a program then gives every byte back to the system, where a heap that
// others allocate from in between would keep most of it (measured: 1 MB a load and close).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "sterna/status.h"

namespace sterna {

constexpr size_t kAlignment = 64;
// Readable bytes after every block: kernels may read 63 past the end of a row (include/sterna/program.h).
constexpr size_t kSlack = 64;

inline uint64_t RoundUp(uint64_t v, uint64_t to) { return (v + to - 1) / to * to; }

class Memory {
 public:
  explicit Memory(uint64_t limit) : limit_(limit) {}

  // Zeroed, 64-byte aligned, with kSlack readable bytes after the end. `bytes` may be 0.
  Status Allocate(uint64_t bytes, uint8_t** block);

  // Gives the pages of a block back to the system until it is written again; it is zeroed then. Blocks from the heap stay as they are.
  void Release(const uint8_t* block);

  // Gives back the block that was allocated last.
  void DiscardLast();

  // Counts bytes that are elsewhere against the limit: of a mapped file, or of tables, of which a few bytes of program may ask for many.
  Status Reserve(uint64_t bytes);

  // Bytes allocated, slack included, and reserved.
  uint64_t used() const { return used_; }

 private:
  struct Free {
    size_t bytes;
    bool mapped;  // else from the heap
    void operator()(uint8_t* p) const;
  };
  uint64_t limit_;
  uint64_t used_ = 0;
  std::vector<std::unique_ptr<uint8_t, Free>> blocks_;
};

}  // namespace sterna
