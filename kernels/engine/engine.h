// A loaded program: validated, its weights packed for one ISA, all its memory allocated. Knows nothing of Node.
#pragma once
#include <memory>
#include <vector>

#include "engine/core_budget.h"
#include "engine/mapped_file.h"
#include "engine/op.h"
#include "engine/outside.h"
#include "engine/regions.h"
#include "engine/strips.h"
#include "engine/thread_pool.h"

namespace sterna {

struct LoadOptions {
  int threads = 1;            // 1..kMaxThreads; of which those compute at a time that have a core
  const char* isa = nullptr;  // null: the best one
  std::vector<int> cpus;      // those that threads stay on, each below CPU_SETSIZE; empty: any
  uint64_t memory_limit = uint64_t{1} << 30;  // bytes of arena, packed weights and scratch
  CoreBudget* budget = nullptr;               // null: the process's; else outlives the engine
  // What a thread holds of the maps between the ops of a strip, bytes, unless a row takes more: with the weights it fits the L2 cache of small
  // cores. 0: UsualStripBytes(); runtime/plan/strips.ts counts kStripBytes, as on a small board.
  size_t strip_bytes = 0;
  // The program's table of regions (regions.h), for runs of a part; null: every run computes everything. Needed during the call only.
  const uint32_t* regions = nullptr;
  size_t region_words = 0;
};
constexpr int kMaxThreads = 64;

class Engine {
 public:
  // `bytes` are needed during the call only, in any alignment. On success *engine is set.
  static Status Load(const uint8_t* bytes, size_t size, const LoadOptions& options, std::unique_ptr<Engine>* engine);
  // As above, from a file that stays mapped as long as the engine: weights that are packed already are used where they are.
  static Status Load(std::unique_ptr<MappedFile> file, const LoadOptions& options, std::unique_ptr<Engine>* engine);

  // Ops [first, end) of the program. What earlier ones left in the arena is still there, so a run in parts gives what a whole one does.
  struct OpRange {
    size_t first = 0, end = SIZE_MAX;
  };

  // Dense row-major inputs and outputs, in program order, of exactly the bytes that InputBytes and OutputBytes say. One call at
  // a time. `op_ms`: null, or one number for each op: its wall time in milliseconds. `inputs` may be null (they stay as they are), and so may an
  // output that nobody wants. A run of all ops may read inputs and write outputs where the caller has them (outside.h): what goes on from it (null
  // inputs, later ops) is refused then. A run of a range copies them.
  Status Run(const uint8_t* const* inputs, uint8_t* const* outputs, double* op_ms, const OpRange& range);
  Status Run(const uint8_t* const* inputs, uint8_t* const* outputs, double* op_ms = nullptr) { return Run(inputs, outputs, op_ms, OpRange()); }

  // What an incremental run computes.
  struct Change {
    ActiveCells active;
    bool outputs_kept;  // the outputs hold what the last run that wrote them left there
    OpRange range = OpRange();
  };
  // As Run, but computes only what the active cells ask for and keeps the rest from the runs before; all of the range's ops when they, or ops before
  // them, have kept nothing. Ops behind the range keep what they have: whoever goes on with them says which cells they have missed. Only for
  // programs with a table of regions.
  Status RunPart(const uint8_t* const* inputs, uint8_t* const* outputs, const Change& change, double* op_ms = nullptr);
  bool incremental() const { return regions_ != nullptr; }
  // Whether op `i` can be computed in part.
  bool in_parts(size_t op) const { return incremental() && parts_[op] != nullptr; }
  // What the last run computed, as a share of the cost of all ops.
  double share() const { return share_; }
  // Gives the memory of the kept maps back to the system; the next run computes everything. Not during a run.
  void Drop();

  size_t input_count() const { return inputs_.size(); }
  size_t output_count() const { return outputs_.size(); }
  uint64_t InputBytes(size_t i) const { return inputs_[i].tensor.bytes(); }
  uint64_t OutputBytes(size_t i) const { return outputs_[i].tensor.bytes(); }

  const char* isa() const { return kernels_.isa; }
  int threads() const { return threads_; }
  // The CPUs that whoever calls Run should stay on, as the pool's threads do; empty: any.
  const std::vector<int>& cpus() const { return cpus_; }
  uint64_t arena_bytes() const { return arena_bytes_; }
  uint64_t scratch_bytes() const { return scratch_bytes_; }
  uint64_t packed_bytes() const { return memory_.used() - arena_bytes_ - scratch_bytes_; }
  uint64_t memory_bytes() const { return memory_.used(); }

  // Every weight in packed form, by op.
  const std::vector<PackedStore::Entry>& packed() const { return packed_.entries; }

  size_t op_count() const { return opcodes_.size(); }
  OpCode opcode(size_t op) const { return opcodes_[op]; }
  const char* kernel(size_t op) const { return drivers_[op]->kernel(); }
  const std::string& note(size_t op) const { return drivers_[op]->note(); }

 private:
  // A tensor that enters or leaves.
  struct Port {
    Tensor tensor;
    uint8_t* data;
  };
  class CopyInput;
  // What is run at once: an op, or the ops of a strip from `op` on.
  struct Step {
    size_t driver, op;
    Strips* strips;  // null: a single op
  };
  // The part of an op that an incremental run computes, and its driver.
  struct Part {
    PartOp* op;
    size_t driver;
  };

  explicit Engine(const LoadOptions& options)
      : threads_(options.threads),
        cpus_(options.cpus),
        budget_(options.budget != nullptr ? *options.budget : CoreBudget::Of(options.cpus)),
        strip_bytes_(options.strip_bytes != 0 ? options.strip_bytes : UsualStripBytes()),
        memory_(options.memory_limit) {}
  // `bytes` are aligned to 8.
  Status LoadAligned(const uint8_t* bytes, size_t size, const LoadOptions& options);
  Status Prepare(const Program& program, const LoadOptions& options);
  Status BindPorts(const Program& program, const std::vector<uint8_t*>& retained, uint8_t* arena);
  Status PlanSteps(const Program& program);
  Status PlanParts(const Program& program, const LoadOptions& options);
  Status AllocateScratch();
  Status RunAll(const uint8_t* const* inputs, uint8_t* const* outputs, bool outputs_kept, double* op_ms, const OpRange& range);
  Status RunOps(const uint8_t* const* inputs, const OpRange& range, int* helpers, double* op_ms);
  bool MayStayOutside(const uint8_t* const* inputs, uint8_t* const* outputs, const OpRange& range) const;
  void Bind(const uint8_t* const* inputs, uint8_t* const* outputs, bool outside);
  void ChooseParts(const ActiveCells* active, const OpRange& range);
  Status Check(const OpRange& range) const;
  bool StepBegins(size_t op) const;
  void RunDriver(size_t index, int threads);

  int threads_;
  std::vector<int> cpus_;
  CoreBudget& budget_;
  size_t strip_bytes_;
  KernelSet kernels_;
  std::unique_ptr<MappedFile> file_;  // null: loaded from memory
  Memory memory_;
  PackedStore packed_;
  uint64_t arena_bytes_ = 0, scratch_bytes_ = 0;
  const uint8_t* arena_ = nullptr;
  std::vector<Port> inputs_, outputs_;
  std::vector<OpCode> opcodes_;
  std::vector<DriverPtr> drivers_;    // of the ops, then of what threads share like ops: the copies of the inputs, and the strips
  std::vector<Step> steps_;           // in the order of execution
  std::unique_ptr<Regions> regions_;  // null: every run computes everything
  std::vector<std::unique_ptr<Part>> parts_;  // by op; null: it is computed as a whole
  size_t kept_ops_ = 0;               // of an incremental program: the first so many ops have left their maps in the arena
  bool in_part_ = false, idle_ = false;  // what runs: only the active cells; nothing, as none is active
  double share_ = 1;
  OutsidePlan outside_;               // ports that an op can read or write where the caller has them
  bool outside_now_ = false;          // whether the current or last run that began with the first op did so
  std::vector<uint8_t*> scratch_;     // one block for each thread
  std::unique_ptr<ThreadPool> pool_;  // last: its threads use all the rest
};

}  // namespace sterna
