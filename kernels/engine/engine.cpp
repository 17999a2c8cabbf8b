#include "engine/engine.h"

#include <algorithm>
#include <chrono>

namespace sterna {
namespace {

// Copies pixels of a tensor in the arena, which may be padded, to where they belong in a dense one outside.
void CopyOut(const uint8_t* data, const Tensor& t, int64_t first, int64_t count, uint8_t* dense) {
  const int64_t size = static_cast<int64_t>(SizeOf(t.dtype)), pixel = t.channels() * size, stride = t.pixel_stride * size;
  data += first * stride, dense += first * pixel;
  if (t.dense()) {
    std::memcpy(dense, data, static_cast<size_t>(count * pixel));
    return;
  }
  for (int64_t i = 0; i < count; ++i, dense += pixel, data += stride) std::memcpy(dense, data, static_cast<size_t>(pixel));
}

constexpr int64_t kCopiedBytesPerCost = 4;  // a nanosecond on a slow core
constexpr int64_t kCopiedGranule = 4096;    // bytes

// Sums of products of floats, whose error is that of their largest terms.
bool MultipliesFloats(OpCode code) {
  return code == OpCode::kConvF32 || code == OpCode::kMatMulF32 || code == OpCode::kAttentionF32 || code == OpCode::kRecurrentF32;
}

double Milliseconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace

// Copies a dense input from where the caller has it into the arena, where pixels may be padded. Units: pixels; bytes when dense.
class Engine::CopyInput final : public OpDriver {
 public:
  explicit CopyInput(const Port& port) : data_(port.data) {
    const Tensor& t = port.tensor;
    pixel_ = t.dense() ? 1 : t.channels() * static_cast<int64_t>(SizeOf(t.dtype));
    stride_ = t.dense() ? 1 : t.pixel_stride * static_cast<int64_t>(SizeOf(t.dtype));
    units_ = static_cast<int64_t>(t.bytes()) / pixel_;
    granularity_ = (kCopiedGranule + pixel_ - 1) / pixel_;
    cost_ = static_cast<int64_t>(t.bytes()) / kCopiedBytesPerCost;
  }
  // Where the next run reads.
  void set_source(const uint8_t* source) { source_ = source; }

  void Run(int64_t begin, int64_t end, uint8_t*) override {
    if (stride_ == 1) std::memcpy(data_ + begin, source_ + begin, static_cast<size_t>(end - begin));
    else for (int64_t i = begin; i < end; ++i) std::memcpy(data_ + i * stride_, source_ + i * pixel_, static_cast<size_t>(pixel_));
  }

 private:
  uint8_t* data_;
  const uint8_t* source_ = nullptr;
  int64_t pixel_, stride_;  // bytes
};

Status Engine::Load(const uint8_t* bytes, size_t size, const LoadOptions& options, std::unique_ptr<Engine>* engine) {
  std::unique_ptr<uint8_t, void (*)(void*)> aligned(nullptr, std::free);
  if (reinterpret_cast<uintptr_t>(bytes) % 8 != 0) {
    aligned.reset(static_cast<uint8_t*>(std::malloc(size)));
    if (aligned == nullptr) return Status::Error(StatusCode::kOutOfMemory, "memory for the program could not be allocated");
    std::memcpy(aligned.get(), bytes, size);
    bytes = aligned.get();
  }
  std::unique_ptr<Engine> loaded(new Engine(options));
  const Status status = loaded->LoadAligned(bytes, size, options);
  if (status.ok()) *engine = std::move(loaded);
  return status;
}

Status Engine::Load(std::unique_ptr<MappedFile> file, const LoadOptions& options, std::unique_ptr<Engine>* engine) {
  if (reinterpret_cast<uintptr_t>(file->data()) % kAlignment != 0) return Load(file->data(), file->size(), options, engine);
  std::unique_ptr<Engine> loaded(new Engine(options));
  loaded->packed_.in_place = true;
  loaded->file_ = std::move(file);
  const Status status = loaded->LoadAligned(loaded->file_->data(), loaded->file_->size(), options);
  if (status.ok()) *engine = std::move(loaded);
  return status;
}

Status Engine::LoadAligned(const uint8_t* bytes, size_t size, const LoadOptions& options) {
  if (options.threads < 1 || options.threads > kMaxThreads) return Status::Error(StatusCode::kInvalidArgument, "threads must be between 1 and 64");
  Program program;
  Status status = ParseProgram(bytes, size, options.memory_limit, &program);
  if (status.ok()) status = SelectKernels(options.isa, program.activation, &kernels_);
  return status.ok() ? Prepare(program, options) : status;
}

Status Engine::Prepare(const Program& program, const LoadOptions& options) {
  uint8_t* arena;
  Status status = memory_.Allocate(program.arena_bytes, &arena);
  arena_bytes_ = memory_.used();
  arena_ = arena;
  std::vector<uint8_t*> retained(program.tensors.size(), nullptr);
  const std::vector<ByteSet> values = FollowValues(program);
  for (size_t i = 0; status.ok() && i < program.ops.size(); ++i) {
    packed_.op = static_cast<uint32_t>(i);
    const OpContext context(program, program.ops[i], kernels_, threads_, &memory_, arena, &retained, &packed_, values);
    DriverPtr driver;
    status = PrepareOp(context, program.ops[i], &driver);
    status.op = static_cast<int32_t>(i);
    if (status.ok()) driver->set_flushes(MultipliesFloats(program.ops[i].code));
    drivers_.push_back(std::move(driver));
    opcodes_.push_back(program.ops[i].code);
  }
  if (!status.ok()) return status;
  status = BindPorts(program, retained, arena);
  if (status.ok()) status = PlanSteps(program);
  if (status.ok() && options.regions == nullptr) outside_ = PlanOutside(program, drivers_);
  if (status.ok() && options.regions != nullptr) status = PlanParts(program, options);
  if (status.ok()) status = AllocateScratch();
  if (status.ok() && threads_ > 1) pool_ = std::make_unique<ThreadPool>(threads_, cpus_, &drivers_, &scratch_);
  return status;
}

Status Engine::BindPorts(const Program& program, const std::vector<uint8_t*>& retained, uint8_t* arena) {
  for (uint32_t id : program.inputs) {
    inputs_.push_back({program.tensors[id], arena + program.tensors[id].offset});
    drivers_.emplace_back(new CopyInput(inputs_.back()));
  }
  for (uint32_t id : program.outputs) {
    const Tensor& t = program.tensors[id];
    uint8_t* data = t.location == Location::kArena ? arena + t.offset : retained[id];
    if (data == nullptr) {  // a constant that no op reads
      const uint64_t bytes = static_cast<uint64_t>(t.extent()) * SizeOf(t.dtype);
      const Status status = memory_.Allocate(bytes, &data);
      if (!status.ok()) return status;
      std::memcpy(data, program.constants + t.offset, static_cast<size_t>(bytes));
    }
    outputs_.push_back({t, data});
  }
  return Status::Ok();
}

Status Engine::PlanSteps(const Program& program) {
  auto next = program.strips.begin();
  for (size_t op = 0; op < op_count();) {
    if (next == program.strips.end() || next->first != op) {
      steps_.push_back({op, op, nullptr});
      ++op;
      continue;
    }
    std::unique_ptr<Strips> strips;
    Status status = Strips::Make(&drivers_[op], next->count, strip_bytes_, &strips);
    if (!status.ok()) {
      status.op += static_cast<int32_t>(op);
      return status;
    }
    const std::string note = "in strips of " + std::to_string(strips->rows()) + (strips->rows() == 1 ? " row" : " rows");
    for (size_t i = op; i < op + next->count; ++i) drivers_[i]->set_note(drivers_[i]->note().empty() ? note : drivers_[i]->note() + "; " + note);
    steps_.push_back({drivers_.size(), op, strips.get()});
    drivers_.push_back(std::move(strips));
    op += next++->count;
  }
  return Status::Ok();
}

Status Engine::PlanParts(const Program& program, const LoadOptions& options) {
  const Status status = Regions::Parse(options.regions, options.region_words, program, &memory_, &regions_);
  if (!status.ok()) return status;
  for (size_t op = 0; op < op_count(); ++op) {
    parts_.emplace_back();
    if (regions_->op(op) == nullptr || !drivers_[op]->takes_spans()) continue;
    parts_.back().reset(new Part{new PartOp(drivers_[op].get(), regions_->op(op), program.tensors[program.ops[op].outputs[0]].pixels()), drivers_.size()});
    drivers_.emplace_back(parts_.back()->op);
  }
  return status;
}

Status Engine::AllocateScratch() {
  size_t bytes = 0;
  for (const DriverPtr& driver : drivers_) bytes = std::max(bytes, driver->scratch_bytes());
  const uint64_t before = memory_.used();
  for (int i = 0; i < threads_; ++i) {
    uint8_t* block;
    const Status status = memory_.Allocate(bytes, &block);
    if (!status.ok()) return status;
    scratch_.push_back(block);
  }
  scratch_bytes_ = memory_.used() - before;
  return Status::Ok();
}

Status Engine::Run(const uint8_t* const* inputs, uint8_t* const* outputs, double* op_ms, const OpRange& range) {
  const Status status = Check(range);
  if (!status.ok()) return status;
  ChooseParts(nullptr, range);
  return RunAll(inputs, outputs, false, op_ms, range);
}

Status Engine::Check(const OpRange& range) const {
  if (range.first <= range.end && StepBegins(range.first) && StepBegins(range.end)) return Status::Ok();
  return Status::Error(StatusCode::kInvalidArgument, "a part of a program must begin and end where no strip is cut");
}

// Whether ops before `op` can be run without it: it is not inside a strip.
bool Engine::StepBegins(size_t op) const {
  return op >= op_count() || std::any_of(steps_.begin(), steps_.end(), [op](const Step& step) { return step.op == op; });
}

Status Engine::RunPart(const uint8_t* const* inputs, uint8_t* const* outputs, const Change& change, double* op_ms) {
  const auto& [active, outputs_kept, range] = change;
  if (regions_ == nullptr) return Status::Error(StatusCode::kInvalidArgument, "the program was loaded without a table of regions");
  if (active.rows < 1 || active.columns < 1 || active.rows > kMaxActiveSide || active.columns > kMaxActiveSide) {
    return Status::Error(StatusCode::kInvalidArgument, "a grid of active cells has no cells, or a side of more than 4096");
  }
  const Status status = Check(range);
  if (!status.ok()) return status;
  ChooseParts(kept_ops_ >= std::min(range.end, op_count()) ? &active : nullptr, range);
  return RunAll(inputs, outputs, outputs_kept, op_ms, range);
}

// Null: everything.
void Engine::ChooseParts(const ActiveCells* active, const OpRange& range) {
  in_part_ = active != nullptr;
  idle_ = in_part_ && !regions_->Update(*active);
  int64_t computed = 0, whole = 0;
  for (size_t op = 0; op < op_count(); ++op) {
    const int64_t cost = drivers_[op]->cost();
    whole += cost;
    if (idle_ || op < range.first || op >= range.end) continue;
    Part* part = in_part_ ? parts_[op].get() : nullptr;
    if (part != nullptr) part->op->Update();
    computed += part != nullptr ? part->op->cost() : cost;
  }
  share_ = whole == 0 ? 1 : static_cast<double>(computed) / static_cast<double>(whole);
}

void Engine::Drop() {
  kept_ops_ = 0;
  if (incremental()) memory_.Release(arena_);
}

namespace {

bool Apart(const uint8_t* a, uint64_t a_bytes, const uint8_t* b, uint64_t b_bytes) {
  const uintptr_t x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x + a_bytes <= y || y + b_bytes <= x;
}

bool Aligned(const uint8_t* data, const Tensor& t) { return reinterpret_cast<uintptr_t>(data) % SizeOf(t.dtype) == 0; }

}  // namespace

// A run of a range leaves in the arena what others go on from. Memory that an op could no longer read once another one has written it is copied.
bool Engine::MayStayOutside(const uint8_t* const* inputs, uint8_t* const* outputs, const OpRange& range) const {
  if (range.first != 0 || range.end != SIZE_MAX || inputs == nullptr) return false;
  bool any = false;
  for (size_t i = 0; i < outside_.inputs.size(); ++i) {
    if (outside_.inputs[i].found() && !Aligned(inputs[i], inputs_[i].tensor)) return false;
    any = any || outside_.inputs[i].found();
  }
  for (size_t o = 0; o < outside_.outputs.size(); ++o) {
    if (!outside_.outputs[o].found() || outputs[o] == nullptr) continue;
    any = true;
    if (!Aligned(outputs[o], outputs_[o].tensor)) return false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!Apart(inputs[i], InputBytes(i), outputs[o], OutputBytes(o))) return false;
    }
  }
  return any;
}

void Engine::Bind(const uint8_t* const* inputs, uint8_t* const* outputs, bool outside) {
  for (size_t i = 0; i < outside_.inputs.size(); ++i) {
    if (outside_.inputs[i].found()) drivers_[outside_.inputs[i].op]->ReadFrom(outside ? inputs[i] : nullptr);
  }
  for (size_t o = 0; o < outside_.outputs.size(); ++o) {
    if (outside_.outputs[o].found()) drivers_[outside_.outputs[o].op]->WriteTo(outside ? outputs[o] : nullptr);
  }
}

Status Engine::RunAll(const uint8_t* const* inputs, uint8_t* const* outputs, bool outputs_kept, double* op_ms, const OpRange& range) {
  if (outside_now_ && (inputs == nullptr || range.first > 0)) {
    return Status::Error(StatusCode::kInvalidArgument, "nothing can go on from a run of all ops: run the first ones as a part");
  }
  outside_now_ = MayStayOutside(inputs, outputs, range);
  Bind(inputs, outputs, outside_now_);
  const size_t kept = kept_ops_;
  kept_ops_ = std::min(kept, range.first);  // until the run has succeeded
  int helpers = budget_.Enter(threads_ - 1);
  if (pool_ != nullptr) pool_->BeginInference(1 + helpers);
  const Status status = RunOps(inputs, range, &helpers, op_ms);
  if (pool_ != nullptr) pool_->EndInference();
  budget_.Leave(helpers);
  if (status.ok() && incremental()) kept_ops_ = range.first <= kept ? std::max(kept, std::min(range.end, op_count())) : kept;
  for (size_t i = 0; status.ok() && i < outputs_.size(); ++i) {
    if (outputs[i] == nullptr || (idle_ && outputs_kept) || (outside_now_ && outside_.outputs[i].found())) continue;
    const auto& [tensor, data] = outputs_[i];
    const SpanList* list = in_part_ && outputs_kept ? regions_->output(i) : nullptr;
    if (list == nullptr) CopyOut(data, tensor, 0, tensor.pixels(), outputs[i]);
    else for (const Span& span : list->spans()) CopyOut(data, tensor, span.first, span.count, outputs[i]);
  }
  return status;
}

// With *helpers of the pool's workers, or fewer when other programs begin meanwhile.
Status Engine::RunOps(const uint8_t* const* inputs, const OpRange& range, int* helpers, double* op_ms) {
  using Clock = std::chrono::steady_clock;
  for (size_t i = 0; inputs != nullptr && i < inputs_.size(); ++i) {
    if (outside_now_ && outside_.inputs[i].found()) continue;
    static_cast<CopyInput&>(*drivers_[op_count() + i]).set_source(inputs[i]);
    RunDriver(op_count() + i, 1 + *helpers);
  }
  for (const Step& step : steps_) {
    if (step.op < range.first || step.op >= range.end) continue;
    const Clock::time_point start = op_ms != nullptr ? Clock::now() : Clock::time_point();
    *helpers = budget_.Keep(*helpers);
    const Part* part = in_part_ ? parts_[step.op].get() : nullptr;
    const size_t driver = part != nullptr && !part->op->everything() ? part->driver : step.driver;
    if (step.strips != nullptr) step.strips->set_measured(op_ms != nullptr);
    if (!idle_) RunDriver(driver, 1 + *helpers);
    if (op_ms != nullptr) op_ms[step.op] = Milliseconds(Clock::now() - start);
    if (op_ms != nullptr && step.strips != nullptr) step.strips->DivideTime(&op_ms[step.op]);
    if (!drivers_[driver]->Succeeded()) return Status::Error(StatusCode::kInvalidArgument, drivers_[driver]->problem(), static_cast<int32_t>(step.op));
  }
  return Status::Ok();
}

void Engine::RunDriver(size_t index, int threads) {
  if (pool_ != nullptr) pool_->RunOp(static_cast<uint32_t>(index), threads);
  else drivers_[index]->RunInMode(0, drivers_[index]->units(), scratch_[0]);
}

}  // namespace sterna
