// Subnormal numbers (below 1.18e-38) count as zero while an op of float products runs: many CPUs multiply them by microcode, 150 times as slow.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace sterna {

// The calling thread's mode, which is as before afterwards. Normal numbers, infinities and NaN give the same bits in both.
class FlushSubnormals {
 public:
  explicit FlushSubnormals(bool flush) : flush_(flush) {
    if (flush_) Write((before_ = Read()) | kFlush);
  }
  ~FlushSubnormals() {
    if (flush_) Write(before_);
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__x86_64__)
  using Word = uint32_t;
  static constexpr Word kFlush = 0x8040;  // results (FTZ) and operands (DAZ)
  static Word Read() { return _mm_getcsr(); }
  static void Write(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kFlush = Word{1} << 24;  // FZ: results and operands
  static Word Read() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Write(Word word) { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
  using Word = uint32_t;
  static constexpr Word kFlush = 0;
  static Word Read() { return 0; }
  static void Write(Word) {}
#endif

  bool flush_;
  Word before_ = 0;
};

}  // namespace sterna
