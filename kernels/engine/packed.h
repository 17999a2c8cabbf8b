// Weights in the form that a kernel packs them to: what a load has packed, or found packed in its program.
#pragma once
#include <cstdint>
#include <vector>

namespace sterna {

struct PackedForm {
  const char* kernel;
  int64_t panel_width;  // output channels of each panel but the last
  uint64_t bytes;
};

struct PackedStore {
  struct Entry {
    uint32_t op, input;
    PackedForm form;
    const uint8_t* data;
  };

  bool in_place = false;  // the program's bytes stay as long as the engine, aligned to 64: packed weights are used where they are
  uint32_t op = 0;        // the one that is being prepared
  std::vector<Entry> entries;
};

}  // namespace sterna
