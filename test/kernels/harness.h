// A test harness in one page: it must run on the host and, cross-compiled, under qemu, without a library.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace sterna_test {

using TestFunction = void (*)();

struct Registration {
  Registration(const char* name, TestFunction function);
};

// Marks the running test as failed and goes on; prints the first few failures of each test.
void Fail(const char* file, int line, const std::string& message);
// Ends up in the summary by name: the test counts as skipped, unless it fails. Return after it.
void Skip(const std::string& reason);
// One line of the execution ledger: a kernel, and "native", "emulated" or "not run", with the reason.
void Ledger(const std::string& kernel, const std::string& state);
// Enters every kernel of the table that is not in the ledger yet as not run.
void LedgerOfTheRest();
// "native", "emulated" when the environment variable STERNA_EMULATED is set (scripts set it for qemu), or "emulated at source level" in
// sterna_kernel_tests_emulated (kernels/cmake/emulation.cmake).
const char* HowItRuns();
// Tests that damage a program byte by byte try every n-th place: 1 natively, a prime above where a load takes 10 to 100 times as long
// (13 under sanitizers, 61 emulated), so that every byte of the records' fields is still among them. STERNA_DAMAGE_STEP=1 tries all places.
size_t DamageStep();

// Deterministic random numbers (SplitMix64); the seed is printed with the summary.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // Uniform in [lo, hi].
  int32_t Int(int32_t lo, int32_t hi) { return lo + static_cast<int32_t>(Next() % static_cast<uint64_t>(int64_t{hi} - lo + 1)); }
  float Float(float lo, float hi) { return lo + (hi - lo) * static_cast<float>(Next() >> 40) * (1.0f / 16777216.0f); }

 private:
  uint64_t state_;
};

// `bytes` usable bytes, followed by `slack` bytes of 0xa5, followed by a page that faults; `head` bytes (rounded up to whole pages)
// before are a faulting page too. The start is aligned only as the end allows: pass a multiple of 64 when a kernel needs alignment.
class Guarded {
 public:
  Guarded(size_t bytes, size_t slack = 0);
  ~Guarded();
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  uint8_t* data() const { return data_; }
  template <typename T>
  T* as() const { return reinterpret_cast<T*>(data_); }
  size_t size() const { return bytes_; }

 private:
  uint8_t* map_;
  size_t map_bytes_;
  uint8_t* data_;
  size_t bytes_;
};

}  // namespace sterna_test

#define STERNA_TEST(name)                                                              \
  static void name();                                                                  \
  static const ::sterna_test::Registration registration_of_##name(#name, &name);       \
  static void name()

#define EXPECT(condition)                                                              \
  do {                                                                                 \
    if (!(condition)) ::sterna_test::Fail(__FILE__, __LINE__, "expected " #condition); \
  } while (0)

#define EXPECT_MSG(condition, message)                                                 \
  do {                                                                                 \
    if (!(condition)) ::sterna_test::Fail(__FILE__, __LINE__, message);                \
  } while (0)
