// Ops that read an input of the program, or write an output, where the caller has it: that saves a copy, which takes longer than
// many an element-wise op.
#pragma once
#include <vector>

#include "engine/op.h"

namespace sterna {

// The only reader of an input, or the last writer of an output.
struct OutsideOp {
  size_t op = SIZE_MAX;  // SIZE_MAX: the port is copied
  bool found() const { return op != SIZE_MAX; }
};

struct OutsidePlan {
  std::vector<OutsideOp> inputs, outputs;  // by port
};

// Which ports need no copy: an op that takes it (OpDriver::takes_outside) is the only one that reads an input's memory before something else is there,
// or writes an output that nobody reads or changes later. `drivers`: those of the ops, in their order.
OutsidePlan PlanOutside(const Program& program, const std::vector<DriverPtr>& drivers);

}  // namespace sterna
