// The thread on which a program's inferences run, one at a time, in the order they were asked for. Knows nothing of Node.
//
// Waking a sleeping thread and being woken by it takes 0.1 to 0.4 ms (a virtual machine with an idle CPU; tens of microseconds
// on bare metal): longer than a small network. A program may run where it is asked for instead when its last inference was short.
#pragma once
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"

namespace sterna_node {

// One inference. Whoever submits it keeps the bytes alive until it is done.
struct Job {
  virtual ~Job() = default;
  std::vector<const uint8_t*> inputs;
  std::vector<uint8_t*> outputs;
  std::vector<uint8_t> cells;  // what `active` points to
  // Of an incremental run; cells null: everything is computed.
  sterna::ActiveCells active{nullptr, 0, 0};
  bool outputs_kept = false;
  double share = 1;  // what was computed, of the cost of everything
  bool keeps_inputs = false;  // the inputs stay as an earlier job left them
  sterna::Engine::OpRange range;
  bool timed = false;
  std::vector<double> op_ms;  // by op, when timed
  sterna::Status status;
};

class Runner {
 public:
  // Called on the runner's thread when a job is done; must not block.
  using Done = void (*)(void* context, Job* job);

  struct Manners {
    double max_blocking_ms = 0;  // how long RunIfShort may keep its caller
    bool background = false;     // the lowest priority that the system has for a thread, and never on the caller's
  };
  Runner(std::unique_ptr<sterna::Engine> engine, const Manners& manners, Done done, void* context);
  // As Stop.
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // False when the system has no thread for us.
  bool Start();
  // The job stays the caller's; `done` gets it back.
  void Submit(Job* job);
  // Runs the job at once, on the calling thread, if the last one took less than max_blocking_ms and may run on any core; else returns false.
  // Only for when every submitted job is done.
  bool RunIfShort(Job* job);
  // Gives the kept maps' memory back. Only for when every submitted job is done.
  void Drop() { engine_->Drop(); }
  // Finishes the running job, gives back no others, and frees the engine. Idempotent.
  void Stop();

 private:
  static void* Main(void* runner);
  void Work();
  void Execute(Job* job);

  std::unique_ptr<sterna::Engine> engine_;
  Manners manners_;
  Done done_;
  void* context_;
  pthread_t thread_{};
  bool started_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;
  // What the last job took that began with the first op, and the last that went on from another; belongs to whoever runs jobs.
  double last_ms_[2] = {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  bool stop_ = false;
};

}  // namespace sterna_node
