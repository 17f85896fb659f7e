// What a program can set in torch, for a thread or for the process, put aside while the core computes. libtorch offers
// this in C++ alone; `modes.rs`, `threads.rs` and `tiny.rs` call it.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/csrc/stable/c/shim.h>

#include <dlfcn.h>

#include <cfenv>
#include <cfloat>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Op = at::Float32Op;
using Precision = at::Float32Precision;
using torch::autograd::AnomalyMode;

// Everything of a thread: grad and inference mode, autocast, modes and hooks that are written in Python, torch.func's
// levels, included and excluded dispatch keys.
const at::ThreadLocalState& fresh() {
  // As it is in a thread that has just begun. It is never freed: at the end of the process nobody needs it to be.
  static const at::ThreadLocalState* state = [] {
    const at::ThreadLocalState* made = nullptr;
    std::thread([&] { made = new at::ThreadLocalState(); }).join();
    return made;
  }();
  return *state;
}

struct Thread {
  Thread()
      : recorders(at::get_record_function_tls_()), debugging(c10::ThreadLocalDebugInfo::current()), guard(fresh()) {
    // A profiler goes on, for it only looks.
    at::set_record_function_tls_(recorders);
    c10::ThreadLocalDebugInfo::_forceCurrentDebugInfo(debugging);
  }

  at::RecordFunctionTLS recorders;
  std::shared_ptr<c10::ThreadLocalDebugInfo> debugging;
  at::ThreadLocalStateGuard guard;
};

// How the processor treats very small numbers, in this thread and, if it rounds them to zero, in those that help it.
struct Arithmetic {
  Arithmetic() {
    std::fegetenv(&own);
    if (flushes()) {
      helpers.resize(at::get_num_threads());
      on_each([](std::fenv_t& theirs) {
        std::fegetenv(&theirs);
        std::fesetenv(FE_DFL_ENV);
      });
    }
    std::fesetenv(FE_DFL_ENV);
  }

  ~Arithmetic() {
    on_each([](std::fenv_t& theirs) { std::fesetenv(&theirs); });
    std::fesetenv(&own);
  }

  static bool flushes() {
    volatile float small = FLT_MIN;
    small = small / 2;
    return small == 0;
  }

  using Work = void (*)(std::fenv_t&);

  // Runs `work` in as many threads as there are helpers; this one is the first of them.
  void on_each(Work work) {
    std::pair<Arithmetic*, Work> context(this, work);
    const auto range = [](int64_t begin, int64_t end, void* given) {
      const auto& [self, work] = *static_cast<std::pair<Arithmetic*, Work>*>(given);
      for (int64_t place = begin; place < end; ++place) {
        work(self->helpers[place]);
      }
    };
    torch_parallel_for(0, static_cast<int64_t>(helpers.size()), 1, range, &context);
  }

  std::fenv_t own;
  std::vector<std::fenv_t> helpers;
};

// What holds for all threads is shared by runs that go on at a time: the first one puts it aside, and the last one
// brings it back. Each looks again when it goes on after Python code.
struct Settings {
  bool mkldnn = true;
  bool anomaly = false;
  bool check_nan = true;
  Precision convolutions = Precision::IEEE;
  Precision products = Precision::IEEE;
};

class Process {
 public:
  void enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& context = at::globalContext();
    if (runs_++ == 0) {
      callers_ = Settings();
    }
    if (!context.userEnabledMkldnn()) {
      callers_.mkldnn = false;
      context.setUserEnabledMkldnn(true);
    }
    // NaNs are the run's own affair.
    if (AnomalyMode::is_enabled()) {
      callers_.anomaly = true;
      callers_.check_nan = AnomalyMode::should_check_nan();
      AnomalyMode::set_enabled(false, callers_.check_nan);
    }
    whole(Op::CONV, callers_.convolutions);
    whole(Op::MATMUL, callers_.products);
  }

  void leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--runs_ > 0) {
      return;
    }
    if (!callers_.mkldnn) {
      at::globalContext().setUserEnabledMkldnn(false);
    }
    if (callers_.anomaly) {
      AnomalyMode::set_enabled(true, callers_.check_nan);
    }
    back(Op::CONV, callers_.convolutions);
    back(Op::MATMUL, callers_.products);
  }

 private:
  static bool shortened(Precision precision) {
    return precision == Precision::TF32 || precision == Precision::BF16;
  }

  // Factors with all their bits.
  static void whole(Op op, Precision& callers) {
    auto& context = at::globalContext();
    const auto found = context.float32Precision(at::Float32Backend::MKLDNN, op);
    if (shortened(found)) {
      callers = found;
      context.setFloat32Precision(at::Float32Backend::MKLDNN, op, Precision::IEEE);
    }
  }

  static void back(Op op, Precision callers) {
    auto& context = at::globalContext();
    if (shortened(callers)) {
      // One that was inherited is inherited again.
      const bool inherited = context.float32Precision(at::Float32Backend::MKLDNN, Op::ALL) == callers;
      context.setFloat32Precision(at::Float32Backend::MKLDNN, op, inherited ? Precision::NONE : callers);
    }
  }

  std::mutex mutex_;
  int runs_ = 0;
  Settings callers_;
};

Process& process() {
  static auto* const one = new Process();
  return *one;
}

struct Modes {
  Modes() { process().enter(); }
  ~Modes() { process().leave(); }

  Thread thread;
  Arithmetic arithmetic;
};

} // namespace

extern "C" {

// Null if it cannot be done (there is no memory).
void* everybatch_modes_put_aside() noexcept {
  try {
    return new Modes();
  } catch (...) {
    return nullptr;
  }
}

void everybatch_modes_bring_back(void* modes) noexcept {
  delete static_cast<Modes*>(modes);
}

// Has the processor take numbers without a whole mantissa for zero, or no longer, in the calling thread; where it can, which
// is on x86 and Arm.
void everybatch_take_tiny_for_zero(bool on) noexcept {
  at::globalContext().setFlushDenormal(on);
}

// Has the calling thread compute with so many threads, and gives whether that was done. libtorch's own call would set the
// number for threads to come as well; this is what it does for the calling one.
bool everybatch_compute_with(int number) noexcept {
  at::get_num_threads(); // sets the thread up
  using OpenMp = void (*)(int);
  using Mkl = int (*)(int);
  static const auto openmp = reinterpret_cast<OpenMp>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  static const auto mkl = reinterpret_cast<Mkl>(dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"));
  if (openmp == nullptr || (mkl == nullptr && at::hasMKL())) {
    return false;
  }
  openmp(number);
  if (mkl != nullptr) {
    mkl(number);
  }
  return at::get_num_threads() == number;
}

}
