#include "node/runner.h"

#include <sys/resource.h>

#include <chrono>

namespace sterna_node {

Runner::Runner(std::unique_ptr<sterna::Engine> engine, const Manners& manners, Done done, void* context)
    : engine_(std::move(engine)), manners_(manners), done_(done), context_(context) {}

Runner::~Runner() { Stop(); }

bool Runner::Start() {
  started_ = pthread_create(&thread_, nullptr, &Runner::Main, this) == 0;
  return started_;
}

void Runner::Submit(Job* job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.push_back(job);
  wake_.notify_one();
}

bool Runner::RunIfShort(Job* job) {
  if (manners_.background || last_ms_[job->range.first > 0] >= manners_.max_blocking_ms || !engine_->cpus().empty()) return false;
  Execute(job);
  return true;
}

void Runner::Execute(Job* job) {
  const auto start = std::chrono::steady_clock::now();
  if (job->timed) job->op_ms.resize(engine_->op_count());
  double* op_ms = job->timed ? job->op_ms.data() : nullptr;
  const uint8_t* const* inputs = job->keeps_inputs ? nullptr : job->inputs.data();
  if (job->active.cells == nullptr) job->status = engine_->Run(inputs, job->outputs.data(), op_ms, job->range);
  else job->status = engine_->RunPart(inputs, job->outputs.data(), {job->active, job->outputs_kept, job->range}, op_ms);
  job->share = engine_->share();
  last_ms_[job->range.first > 0] = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void Runner::Stop() {
  if (started_) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      wake_.notify_one();
    }
    pthread_join(thread_, nullptr);
    started_ = false;
  }
  engine_.reset();
}

void* Runner::Main(void* runner) {
  static_cast<Runner*>(runner)->Work();
  return nullptr;
}

void Runner::Work() {
  sterna::StayOn(engine_->cpus());
  if (manners_.background) (void)setpriority(PRIO_PROCESS, 0, 19);  // of this thread, on Linux; without the right to it, it runs as others do
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    Job* job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    Execute(job);
    done_(context_, job);
    lock.lock();
  }
}

}  // namespace sterna_node
