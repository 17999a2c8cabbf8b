// loadProgram(bytes, options) -> NativeProgram, and what programs in files need (kernels/binding/native.ts).
//
// Lifetimes. The wrapped object owns a Runner and a thread-safe function. A pending job holds a reference to the program's object and
// to every view, and refs the thread-safe function, so neither the collector nor the end of the event loop can pull them away.
// When the environment goes (a worker thread ends, the process exits), a cleanup hook stops the runner first.
#include <napi.h>

#include <sched.h>

#include <cmath>

#include "engine/pack_program.h"
#include "node/arguments.h"
#include "node/deferred.h"
#include "node/errors.h"
#include "node/register.h"
#include "node/runner.h"
#include "node/views.h"
#include "sterna/checksum.h"

namespace sterna_node {
namespace {

using sterna::Engine;

constexpr double kLargestInteger = 9007199254740991.0;  // Number.MAX_SAFE_INTEGER
constexpr double kLargestDescriptor = 2147483647.0;

struct JsJob final : Job {
  JsJob(Napi::Env env, Napi::Object program) : deferred(env) { held.push_back(Napi::Persistent(program)); }
  Deferred deferred;
  std::vector<Napi::ObjectReference> held;  // the program's object, and the views
};

// Random numbers, which tell what an object of JavaScript wraps (napi_type_tag_object).
constexpr napi_type_tag kProgramTag = {0x9d0f3c5ea2714b86, 0xb7e64412c8a95d03}, kEngineTag = {0x5b21e80fd3974ca1, 0x8c6f17a90e42bd75};

using GivenEngine = Napi::External<std::unique_ptr<Engine>>;  // the constructor takes the engine out of it

class NativeProgram;
void OnDone(Napi::Env env, Napi::Function, NativeProgram* program, JsJob* job);
using DoneFunction = Napi::TypedThreadSafeFunction<NativeProgram, JsJob, OnDone>;

class NativeProgram : public Napi::ObjectWrap<NativeProgram> {
 public:
  // Methods are plain functions of the prototype, so that they see any `this` before it is unwrapped (Call). Empty when the environment ends.
  static Napi::Function Define(Napi::Env env) {
    const Napi::Function program = DefineClass(env, "NativeProgram", {});
    const Napi::Value given = program.IsEmpty() ? Napi::Value() : program.Get("prototype");
    if (given.IsEmpty()) return {};
    const Napi::Object prototype = given.As<Napi::Object>();
    const auto method = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
      prototype.DefineProperty(Napi::PropertyDescriptor::Value(name, Napi::Function::New(env, call, name), napi_default_method));
    };
    method("run", Call<&NativeProgram::Run>);
    method("runPart", Call<&NativeProgram::RunPart>);
    method("profile", Call<&NativeProgram::Profile>);
    method("dropKept", Call<&NativeProgram::DropKept>);
    method("close", Call<&NativeProgram::Close>);
    return program;
  }

  // Called by loadProgram only, with the engine as an External, how long a run may block, and whether it runs in the background.
  explicit NativeProgram(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeProgram>(info), env_(info.Env()) {
    if (!info[0].IsExternal() || !info[0].As<GivenEngine>().CheckTypeTag(&kEngineTag)) {
      ThrowArgument(env_, "Programs are made by loadProgram");
      return;
    }
    info.This().As<Napi::Object>().TypeTag(&kProgramTag);
    std::unique_ptr<Engine> engine = std::move(*info[0].As<GivenEngine>().Data());
    Describe(info.This().As<Napi::Object>(), *engine);
    done_ = DoneFunction::New(env_, "sterna program", 0, 1, this);
    done_.Unref(env_);
    runner_ = std::make_unique<Runner>(std::move(engine), Runner::Manners{info[1].As<Napi::Number>().DoubleValue(), IsTrue(info[2])}, &NativeProgram::Finished, this);
    if (!runner_->Start()) {
      runner_.reset();
      done_.Release();
      ThrowError(env_, "E_OUT_OF_MEMORY", "a thread for the program could not be started");
      return;
    }
    Napi::MemoryManagement::AdjustExternalMemory(env_, external_bytes_);
    napi_add_env_cleanup_hook(env_, &NativeProgram::Cleanup, this);
    hooked_ = true;
  }
  ~NativeProgram() override { Free(); }

  // On the JavaScript thread, after a job.
  void Settle(JsJob* job) {
    const Napi::HandleScope scope(env_);
    const std::unique_ptr<JsJob> owned(job);
    Answer(*job);
    if (--pending_ > 0) return;
    done_.Unref(env_);
    if (closing_ != nullptr) FinishClosing();
  }

 private:
  // A method, called on what is a program: another object may wrap anything else, of this addon or of another one.
  template <Napi::Value (NativeProgram::*kMethod)(const Napi::CallbackInfo&)>
  static Napi::Value Call(const Napi::CallbackInfo& info) {
    const Napi::Value self = info.This();
    if (self.IsObject() && self.As<Napi::Object>().CheckTypeTag(&kProgramTag)) {
      NativeProgram* const program = Unwrap(self.As<Napi::Object>());
      return program != nullptr ? (program->*kMethod)(info) : Napi::Value();  // null: the environment ends
    }
    if (!info.Env().IsExceptionPending()) ThrowArgument(info.Env(), "Expected a program that loadProgram made for `this` but received something else");
    return info.Env().Undefined();
  }

  static void Finished(void* context, Job* job) {
    // Fails only when the environment is going down, and the job with it.
    (void)static_cast<NativeProgram*>(context)->done_.NonBlockingCall(static_cast<JsJob*>(job));
  }
  // The environment goes down: its buffers must not be written any more, and later is too late to release the function.
  static void Cleanup(void* data) {
    NativeProgram* program = static_cast<NativeProgram*>(data);
    program->runner_.reset();
    program->hooked_ = false;
    program->done_.Release();
  }

  void Describe(Napi::Object self, const Engine& engine) {
    for (size_t i = 0; i < engine.input_count(); ++i) input_bytes_.push_back(engine.InputBytes(i));
    for (size_t i = 0; i < engine.output_count(); ++i) output_bytes_.push_back(engine.OutputBytes(i));
    Napi::Array kernels = Napi::Array::New(env_, engine.op_count()), notes = Napi::Array::New(env_, engine.op_count());
    Napi::Array in_parts = Napi::Array::New(env_, engine.op_count());
    incremental_ = engine.incremental();
    for (uint32_t i = 0; i < engine.op_count(); ++i) {
      kernels.Set(i, engine.kernel(i));
      notes.Set(i, engine.note(i));
      in_parts.Set(i, engine.in_parts(i));
      opcodes_.push_back(static_cast<uint32_t>(engine.opcode(i)));
      kernel_names_.push_back(engine.kernel(i));
    }
    external_bytes_ = static_cast<int64_t>(engine.memory_bytes());
    const auto number = [&](uint64_t v) { return Napi::Number::New(env_, static_cast<double>(v)); };
    const napi_property_attributes fixed = napi_enumerable;
    self.DefineProperties({Napi::PropertyDescriptor::Value("isa", Napi::String::New(env_, engine.isa()), fixed),
                           Napi::PropertyDescriptor::Value("threads", number(static_cast<uint64_t>(engine.threads())), fixed),
                           Napi::PropertyDescriptor::Value("arenaBytes", number(engine.arena_bytes()), fixed),
                           Napi::PropertyDescriptor::Value("scratchBytes", number(engine.scratch_bytes()), fixed),
                           Napi::PropertyDescriptor::Value("packedBytes", number(engine.packed_bytes()), fixed),
                           Napi::PropertyDescriptor::Value("kernels", kernels, fixed),
                           Napi::PropertyDescriptor::Value("notes", notes, fixed),
                           Napi::PropertyDescriptor::Value("inParts", in_parts, fixed)});
  }

  void Answer(const JsJob& job) const {
    if (!job.status.ok()) job.deferred.Reject(MakeError(env_, CodeOf(job.status), MessageOf(job.status), job.status.op));
    else if (job.timed) job.deferred.Resolve(Timings(job));
    else job.deferred.Resolve(incremental_ ? Napi::Number::New(env_, job.share) : env_.Undefined());
  }

  // The cells of an incremental run, {width, height, bits, outputsKept}, into the job. False with an exception pending.
  bool CollectActive(const Napi::Value& value, JsJob* job) {
    if (value.IsUndefined()) return true;
    const Napi::Object active = value.IsObject() ? value.As<Napi::Object>() : Napi::Object::New(env_);
    const Napi::Value width = active.Get("width"), height = active.Get("height");
    const std::optional<Bytes> bits = BytesOf(active.Get("bits"));
    const int64_t columns = SideOf(width), rows = SideOf(height);
    if (!incremental_) {
      ThrowArgument(env_, "Expected a program with regions for a run with active cells but it was loaded without");
      return false;
    }
    if (!bits || columns == 0 || rows == 0 || bits->size != static_cast<size_t>((columns * rows + 7) / 8)) {
      const std::string received = bits ? std::to_string(bits->size) + " bytes for " + TextOf(width) + " x " + TextOf(height) : "no view, or a detached one";
      ThrowArgument(env_, "Expected a bit for each of width * height active cells, sides of 1..4096, but received " + received);
      return false;
    }
    job->cells.resize(static_cast<size_t>(columns * rows));
    for (size_t i = 0; i < job->cells.size(); ++i) job->cells[i] = bits->data[i >> 3] >> (i & 7) & 1;
    job->active = {job->cells.data(), rows, columns};
    job->outputs_kept = IsTrue(active.Get("outputsKept"));
    return true;
  }
  // 0: no side of a grid.
  static int64_t SideOf(const Napi::Value& value) {
    const double side = NumberOf(value, 0);
    return IsWhole(side, 1, static_cast<double>(sterna::kMaxActiveSide)) ? static_cast<int64_t>(side) : 0;
  }

  // The views of one side into the job; `optional`: null stands for a view that nobody wants. False with an exception pending.
  bool Collect(const Napi::Value& list, const char* side, const std::vector<uint64_t>& expected, JsJob* job, std::vector<uint8_t*>* out, bool optional = false) {
    if (!list.IsArray() || list.As<Napi::Array>().Length() != expected.size()) {
      const std::string received = list.IsArray() ? std::to_string(list.As<Napi::Array>().Length()) : "no array";
      ThrowArgument(env_, "Expected an array of " + std::to_string(expected.size()) + " views for the " + side + "s but received " + received);
      return false;
    }
    for (uint32_t i = 0; i < expected.size(); ++i) {
      const Napi::Value view = list.As<Napi::Array>().Get(i);
      if (optional && view.IsNull()) {
        out->push_back(nullptr);
        continue;
      }
      const std::optional<Bytes> bytes = BytesOf(view);
      if (!bytes || bytes->size != expected[i]) {
        const std::string received = bytes ? std::to_string(bytes->size) + " bytes" : "no view, or a detached one";
        ThrowArgument(env_, "Expected a view of " + std::to_string(expected[i]) + " bytes for " + side + " " + std::to_string(i) + " but received " + received);
        return false;
      }
      job->held.push_back(Napi::Persistent(view.As<Napi::Object>()));
      out->push_back(bytes->data);
    }
    return true;
  }

  // A job for an open program; null with an exception pending, or in an environment that ends.
  std::unique_ptr<JsJob> NewJob(const Napi::CallbackInfo& info) {
    if (runner_ == nullptr || closing_ != nullptr) {
      ThrowArgument(env_, "Expected an open program but it was closed");
      return nullptr;
    }
    auto job = std::make_unique<JsJob>(env_, info.This().As<Napi::Object>());
    return job->deferred.IsEmpty() ? nullptr : std::move(job);
  }

  Napi::Value Start(const Napi::CallbackInfo& info, bool timed) {
    std::unique_ptr<JsJob> job = NewJob(info);
    if (job == nullptr) return {};
    std::vector<uint8_t*> inputs;
    if (!Collect(info[0], "input", input_bytes_, job.get(), &inputs) || !Collect(info[1], "output", output_bytes_, job.get(), &job->outputs) ||
        !CollectActive(info[2], job.get())) {
      return env_.Undefined();
    }
    job->inputs.assign(inputs.begin(), inputs.end());
    job->timed = timed;
    return Begin(std::move(job));
  }

  // (first, end, inputs or null, outputs, null for those that are not wanted, active cells or undefined)
  Napi::Value RunPart(const Napi::CallbackInfo& info) {
    std::unique_ptr<JsJob> job = NewJob(info);
    if (job == nullptr) return {};
    const double ops = static_cast<double>(opcodes_.size());
    const double first = NumberOf(info[0], -1), end = NumberOf(info[1], -1);
    if (!IsWhole(first, 0, ops) || !IsWhole(end, first, ops)) {
      ThrowArgument(env_, "Expected a range of the program's " + std::to_string(opcodes_.size()) + " ops but received " + TextOf(info[0]) + " to " + TextOf(info[1]));
      return env_.Undefined();
    }
    job->range = {static_cast<size_t>(first), static_cast<size_t>(end)};
    job->keeps_inputs = info[2].IsNull();
    std::vector<uint8_t*> inputs;
    if (!job->keeps_inputs && !Collect(info[2], "input", input_bytes_, job.get(), &inputs)) return env_.Undefined();
    if (!Collect(info[3], "output", output_bytes_, job.get(), &job->outputs, true) || !CollectActive(info[4], job.get())) return env_.Undefined();
    job->inputs.assign(inputs.begin(), inputs.end());
    return Begin(std::move(job));
  }

  Napi::Value Begin(std::unique_ptr<JsJob> job) {
    const Napi::Value promise = job->deferred.Promise();
    if (pending_ == 0 && runner_->RunIfShort(job.get())) {  // answers keep their order
      Answer(*job);
      return promise;
    }
    if (pending_++ == 0) done_.Ref(env_);
    runner_->Submit(job.release());
    return promise;
  }
  Napi::Value Run(const Napi::CallbackInfo& info) { return Start(info, false); }
  Napi::Value Profile(const Napi::CallbackInfo& info) { return Start(info, true); }

  // False while a run is pending: its maps are in use.
  Napi::Value DropKept(const Napi::CallbackInfo&) {
    const bool idle = runner_ != nullptr && closing_ == nullptr && pending_ == 0;
    if (idle) runner_->Drop();
    return Napi::Boolean::New(env_, idle);
  }

  Napi::Value Close(const Napi::CallbackInfo&) {
    if (closed_.IsEmpty()) {
      closing_ = std::make_unique<Deferred>(env_);
      if (closing_->IsEmpty()) return {};
      closed_ = Napi::Persistent(closing_->Promise().As<Napi::Object>());
      if (pending_ == 0) FinishClosing();
    }
    return closed_.Value();
  }
  void FinishClosing() {
    Free();
    closing_->Resolve(env_.Undefined());
    closing_.reset();
  }

  // Joins the thread; nothing is pending. Does nothing after Cleanup.
  void Free() {
    runner_.reset();
    if (!hooked_) return;
    hooked_ = false;
    napi_remove_env_cleanup_hook(env_, &NativeProgram::Cleanup, this);
    Napi::MemoryManagement::AdjustExternalMemory(env_, -external_bytes_);
    done_.Release();
  }

  Napi::Value Timings(const JsJob& job) const {
    Napi::Array all = Napi::Array::New(env_, job.op_ms.size());
    for (uint32_t i = 0; i < job.op_ms.size(); ++i) {
      Napi::Object op = Napi::Object::New(env_);
      op.Set("op", i);
      op.Set("opcode", opcodes_[i]);
      op.Set("kernel", kernel_names_[i]);
      op.Set("ms", job.op_ms[i]);
      all.Set(i, op);
    }
    return all;
  }

  Napi::Env env_;
  std::unique_ptr<Runner> runner_;  // null: closed
  DoneFunction done_;
  bool hooked_ = false;
  int pending_ = 0;
  std::unique_ptr<Deferred> closing_;
  Napi::ObjectReference closed_;
  int64_t external_bytes_ = 0;
  bool incremental_ = false;
  std::vector<uint64_t> input_bytes_, output_bytes_;
  std::vector<uint32_t> opcodes_;
  std::vector<std::string> kernel_names_;
};

void OnDone(Napi::Env env, Napi::Function, NativeProgram* program, JsJob* job) {
  // Without an environment there is nobody to tell, and no way to release the references: they end with it.
  if (static_cast<napi_env>(env) != nullptr) program->Settle(job);
}

// Reads an optional integer; false with an exception pending.
bool ReadNumber(Napi::Object options, const char* name, double lowest, double highest, double* value) {
  const Napi::Value v = options.Get(name);
  if (v.IsUndefined()) return true;
  const double number = NumberOf(v, std::nan(""));
  if (IsWhole(number, lowest, highest)) {
    *value = number;
    return true;
  }
  ThrowArgument(options.Env(), std::string("Expected an integer between ") + std::to_string(static_cast<int64_t>(lowest)) + " and " +
                                   std::to_string(static_cast<int64_t>(highest)) + " for " + name + " but received " + TextOf(v));
  return false;
}

// Reads an optional array of CPUs, of which the process must be allowed one; false with an exception pending.
bool ReadCpus(Napi::Object options, std::vector<int>* cpus) {
  const Napi::Value v = options.Get("cpus");
  if (v.IsUndefined()) return true;
  cpu_set_t allowed;
  bool usable = !v.IsArray() || sched_getaffinity(0, sizeof(allowed), &allowed) != 0;
  for (uint32_t i = 0; v.IsArray() && i < v.As<Napi::Array>().Length(); ++i) {
    const double number = NumberOf(v.As<Napi::Array>().Get(i), -1);
    if (!IsWhole(number, 0, CPU_SETSIZE - 1)) break;
    cpus->push_back(static_cast<int>(number));
    usable = usable || CPU_ISSET(cpus->back(), &allowed);
  }
  if (usable && v.IsArray() && cpus->size() == v.As<Napi::Array>().Length()) return true;
  ThrowArgument(options.Env(), "Expected CPUs that this process may use for cpus but received " + TextOf(v));
  return false;
}

// What JavaScript gives as LoadOptions. `isa` owns the name that the options point to.
struct GivenOptions {
  sterna::LoadOptions options;
  std::string isa;
  // As long as an event loop may be kept from other work without anyone noticing: a 60th of a frame of 30 Hz.
  double max_blocking_ms = 0.5;
  bool background = false;
};

// Reads an optional duration, which may be infinite; false with an exception pending.
bool ReadDuration(Napi::Object options, const char* name, double* ms) {
  const Napi::Value v = options.Get(name);
  if (v.IsUndefined()) return true;
  const double number = NumberOf(v, -1);
  if (number >= 0) {
    *ms = number;
    return true;
  }
  ThrowArgument(options.Env(), std::string("Expected milliseconds for ") + name + " but received " + TextOf(v));
  return false;
}

// False with an exception pending.
bool ReadOptions(Napi::Env env, const Napi::Value& value, GivenOptions* read) {
  const Napi::Object given = value.IsObject() ? value.As<Napi::Object>() : Napi::Object::New(env);
  sterna::LoadOptions& options = read->options;
  double threads = 1, limit = static_cast<double>(options.memory_limit);
  if (!ReadNumber(given, "threads", 1, sterna::kMaxThreads, &threads) || !ReadNumber(given, "memoryLimitBytes", 0, kLargestInteger, &limit)) return false;
  if (!ReadCpus(given, &options.cpus) || !ReadDuration(given, "maxBlockingMs", &read->max_blocking_ms)) return false;
  const Napi::Value regions = given.Get("regions");
  if (!regions.IsUndefined()) {
    const std::optional<Bytes> words = BytesOf(regions);
    if (!words || words->size % 4 != 0 || reinterpret_cast<uintptr_t>(words->data) % 4 != 0) {
      ThrowArgument(env, "Expected a Uint32Array for regions but received " + TextOf(regions));
      return false;
    }
    options.regions = reinterpret_cast<const uint32_t*>(words->data);
    options.region_words = words->size / 4;
  }
  options.threads = static_cast<int>(threads);
  options.memory_limit = static_cast<uint64_t>(limit);
  read->background = IsTrue(given.Get("background"));
  const Napi::Value isa = given.Get("isa");
  if (isa.IsUndefined()) return true;
  read->isa = TextOf(isa);
  options.isa = read->isa.c_str();
  return true;
}

Napi::Value ThrowStatus(Napi::Env env, const sterna::Status& status, const GivenOptions& given) {
  const bool wrong_isa = status.code == sterna::StatusCode::kUnsupportedIsa;
  ThrowError(env, CodeOf(status), MessageOf(status) + (wrong_isa ? ": " + given.isa : ""), status.op);
  return env.Undefined();
}

Napi::Value Wrap(const Napi::CallbackInfo& info, std::unique_ptr<Engine> engine, const GivenOptions& given) {
  const Napi::FunctionReference& constructor = *static_cast<Napi::FunctionReference*>(info.Data());
  const GivenEngine external = GivenEngine::New(info.Env(), &engine);
  if (external.IsEmpty()) return {};  // the environment ends
  external.TypeTag(&kEngineTag);
  return constructor.New({external, Napi::Number::New(info.Env(), given.max_blocking_ms), Napi::Boolean::New(info.Env(), given.background)});
}

// The bytes of a program given as the first argument; nothing with an exception pending.
std::optional<Bytes> ProgramBytes(const Napi::CallbackInfo& info) {
  const std::optional<Bytes> bytes = BytesOf(info[0]);
  if (!bytes) ThrowArgument(info.Env(), "Expected a Uint8Array for the program but received something else, or a detached one");
  return bytes;
}

Napi::Value LoadProgram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::optional<Bytes> bytes = ProgramBytes(info);
  GivenOptions given;
  if (!bytes || !ReadOptions(env, info[1], &given)) return env.Undefined();
  std::unique_ptr<Engine> engine;
  const sterna::Status status = Engine::Load(bytes->data, bytes->size, given.options, &engine);
  return status.ok() ? Wrap(info, std::move(engine), given) : ThrowStatus(env, status, given);
}

// loadProgramFile({fd, offset, bytes, checksum}, options) -> NativeProgram
Napi::Value LoadProgramFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object place = info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(env);
  double fd = -1, offset = 0, size = 0;
  GivenOptions given;
  if (!ReadNumber(place, "fd", 0, kLargestDescriptor, &fd) || !ReadNumber(place, "offset", 0, kLargestInteger, &offset) ||
      !ReadNumber(place, "bytes", 0, kLargestInteger, &size) || !ReadOptions(env, info[1], &given)) {
    return env.Undefined();
  }
  const Napi::Value checksum = place.Get("checksum");
  if (!checksum.IsBigInt()) {
    ThrowArgument(env, "Expected a bigint for checksum but received " + TextOf(checksum));
    return env.Undefined();
  }
  bool lossless;
  const sterna::FileRange range{static_cast<int>(fd), static_cast<uint64_t>(offset), static_cast<uint64_t>(size), checksum.As<Napi::BigInt>().Uint64Value(&lossless)};
  std::unique_ptr<sterna::MappedFile> file;
  std::unique_ptr<Engine> engine;
  sterna::Status status = sterna::MappedFile::Open(range, &file);
  if (status.ok()) status = Engine::Load(std::move(file), given.options, &engine);
  return status.ok() ? Wrap(info, std::move(engine), given) : ThrowStatus(env, status, given);
}

// packProgram(bytes, options) -> Uint8Array
Napi::Value PackProgram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::optional<Bytes> bytes = ProgramBytes(info);
  GivenOptions given;
  if (!bytes || !ReadOptions(env, info[1], &given)) return env.Undefined();
  std::vector<uint8_t> packed;
  const sterna::Status status = sterna::PackProgram(bytes->data, bytes->size, given.options, &packed);
  if (!status.ok()) return ThrowStatus(env, status, given);
  return Napi::Buffer<uint8_t>::Copy(env, packed.data(), packed.size());
}

// checksumOf(bytes) -> bigint
Napi::Value ChecksumOf(const Napi::CallbackInfo& info) {
  const std::optional<Bytes> bytes = ProgramBytes(info);
  if (!bytes) return info.Env().Undefined();
  sterna::Checksum checksum;
  checksum.Add(bytes->data, bytes->size);
  return Napi::BigInt::New(info.Env(), checksum.Finish());
}

// A function that makes programs; it keeps their class alive.
void SetLoader(Napi::Object exports, const char* name, Napi::Value (*load)(const Napi::CallbackInfo&), Napi::Function program) {
  auto constructor = std::make_unique<Napi::FunctionReference>(Napi::Persistent(program));
  const Napi::Function function = Napi::Function::New(exports.Env(), load, name, constructor.get());
  if (function.IsEmpty()) return;  // the environment ends
  function.AddFinalizer([](Napi::Env, Napi::FunctionReference* reference) { delete reference; }, constructor.release());
  exports.Set(name, function);
}

}  // namespace

void RegisterProgram(Napi::Object exports) {
  const Napi::Function program = NativeProgram::Define(exports.Env());
  if (program.IsEmpty()) return;
  SetLoader(exports, "loadProgram", LoadProgram, program);
  SetLoader(exports, "loadProgramFile", LoadProgramFile, program);
  SetFunction(exports, "packProgram", PackProgram);
  SetFunction(exports, "checksumOf", ChecksumOf);
}

}  // namespace sterna_node
