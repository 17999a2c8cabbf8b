// Which bytes an 8-bit tensor can hold: what ops on fewer bits rely on. The sets follow from the ops that write a tensor, not from what a
// program declares. (A program that reads a tensor after its bytes went to another one gets numbers of no meaning, whatever the kernels.)
#pragma once
#include <bitset>
#include <vector>

#include "engine/program.h"

namespace sterna {

// Indexed by the stored byte.
class ByteSet {
 public:
  static ByteSet All() { return ByteSet(std::bitset<256>().set()); }
  ByteSet() = default;

  // `lo` and `hi` are values of the activation type, 0..255 or -128..127.
  void AddRange(int32_t lo, int32_t hi) {
    for (int32_t v = lo; v <= hi; ++v) bits_.set(static_cast<uint8_t>(v));
  }
  void Add(uint8_t byte) { bits_.set(byte); }
  void Add(const ByteSet& other) { bits_ |= other.bits_; }
  bool Has(int32_t value) const { return bits_.test(static_cast<uint8_t>(value)); }
  bool empty() const { return bits_.none(); }
  size_t count() const { return bits_.count(); }

  // The lowest and highest value, as the activation type orders bytes; of a set that is not empty.
  int32_t Lowest(DType type) const;
  int32_t Highest(DType type) const;

 private:
  explicit ByteSet(const std::bitset<256>& bits) : bits_(bits) {}
  std::bitset<256> bits_;
};

// By tensor id: all that its writers write. A tensor that no op writes (an input of the program, a constant, or a view of other tensors'
// bytes) can hold anything, and so can the output of an op whose values are not followed here. Called before the drivers have checked
// the ops: it reads nothing that the parser has not checked.
std::vector<ByteSet> FollowValues(const Program& program);

}  // namespace sterna
