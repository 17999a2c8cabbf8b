// Whether a run met data that an op cannot work on. Any thread sets it; the engine reads it, and clears it, after the op.
#pragma once
#include <atomic>

namespace sterna {

class Failure {
 public:
  void Set() { met_.store(true, std::memory_order_relaxed); }
  bool Take() { return met_.exchange(false, std::memory_order_relaxed); }

 private:
  std::atomic<bool> met_{false};
};

constexpr const char* kOutOf32Bits = "a whole number does not fit 32 bits, or a division is by zero";

}  // namespace sterna
