#include "engine/memory.h"

#include <sys/mman.h>

#include <cstring>

namespace sterna {
namespace {

constexpr uint64_t kMappedFrom = 64 * 1024;
constexpr uint64_t kPage = 4096;  // a larger page only rounds further up

// Zeroed; null when there is no memory.
uint8_t* Map(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<uint8_t*>(p);
}

uint8_t* TakeFromHeap(size_t bytes) {
  void* p = std::aligned_alloc(kAlignment, bytes);
  if (p != nullptr) std::memset(p, 0, bytes);
  return static_cast<uint8_t*>(p);
}

}  // namespace

void Memory::Free::operator()(uint8_t* p) const {
  if (mapped) munmap(p, bytes);
  else std::free(p);
}

Status Memory::Reserve(uint64_t bytes) {
  if (bytes > limit_ - used_) return Status::Error(StatusCode::kLimitExceeded, "the program needs more memory than its limit");
  used_ += bytes;
  return Status::Ok();
}

Status Memory::Allocate(uint64_t bytes, uint8_t** block) {
  if (bytes > limit_) return Status::Error(StatusCode::kLimitExceeded, "the program needs more memory than its limit");
  const bool map = bytes >= kMappedFrom;
  const size_t total = static_cast<size_t>(RoundUp(RoundUp(bytes, kAlignment) + kSlack, map ? kPage : kAlignment));
  if (total > limit_ - used_) return Status::Error(StatusCode::kLimitExceeded, "the program needs more memory than its limit");
  uint8_t* p = map ? Map(total) : TakeFromHeap(total);
  if (p == nullptr) return Status::Error(StatusCode::kOutOfMemory, "memory for the arena or the weights could not be allocated");
  blocks_.emplace_back(p, Free{total, map});
  used_ += total;
  *block = p;
  return Status::Ok();
}

void Memory::Release(const uint8_t* block) {
  for (const auto& owned : blocks_) {
    if (owned.get() == block && owned.get_deleter().mapped) madvise(owned.get(), owned.get_deleter().bytes, MADV_DONTNEED);
  }
}

void Memory::DiscardLast() {
  used_ -= blocks_.back().get_deleter().bytes;
  blocks_.pop_back();
}

}  // namespace sterna
