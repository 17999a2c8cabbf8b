#include "engine/memory.h"

#include <cstring>

namespace sterna {

Status Memory::Allocate(uint64_t bytes, uint8_t** block) {
  if (bytes > limit_) return Status::Error(StatusCode::kLimitExceeded, "the program needs more memory than its limit");
  const uint64_t total = RoundUp(bytes, kAlignment) + kSlack;
  if (total > limit_ - used_) return Status::Error(StatusCode::kLimitExceeded, "the program needs more memory than its limit");
  uint8_t* p = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, static_cast<size_t>(total)));
  if (p == nullptr) return Status::Error(StatusCode::kOutOfMemory, "memory for the arena or the weights could not be allocated");
  std::memset(p, 0, static_cast<size_t>(total));
  blocks_.emplace_back(p);
  used_ += total;
  *block = p;
  return Status::Ok();
}

}  // namespace sterna
