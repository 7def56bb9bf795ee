// Runs CUDA kernels on the CPU, for tests: the same source, compiled as C++ with this in front. Blocks run one after the
// other; the threads of a block are contexts that change places at __syncthreads, and only there. Says when threads of a
// block wait at different barriers, or some are gone. In which order blocks and threads run can be chosen: a kernel must
// give the same in each.

#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <deque>
#include <functional>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
// One block at a time: its shared memory is the only one.
#define __shared__ static

struct Index { unsigned int x; };
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr size_t STACK = 64 * 1024;

// A thread of a block: a stack of its own, used for one block after the other.
struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    jmp_buf at;
    int barrier = 0;
    bool started = false;
    bool done = false;
};

static std::deque<Thread> threads;
static jmp_buf scheduler;
static std::function<void()> body;

// Back to the scheduler, until it resumes this thread. _setjmp and _longjmp make no system call, as swapcontext does.
static void yield() {
    if (_setjmp(threads[threadIdx.x].at) == 0) _longjmp(scheduler, 1);
}

[[maybe_unused]] static void sync(int line) {
    threads[threadIdx.x].barrier = line;
    yield();
}

static void enter() {
    for (;;) {
        body();
        threads[threadIdx.x].done = true;
        yield();
    }
}

__attribute__((noinline)) static void resume(unsigned int t) {
    threadIdx.x = t;
    Thread &thread = threads[t];
    if (_setjmp(scheduler) != 0) return;
    if (thread.started) _longjmp(thread.at, 1);
    thread.started = true;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = STACK;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, enter, 0);
    setcontext(&thread.context);
}

// False, and a line on stderr, if a barrier was not the same for all.
static bool block(unsigned int size, bool backwards) {
    while (threads.size() < size) threads.emplace_back();
    for (unsigned int t = 0; t < size; t++) threads[t].done = false;
    for (;;) {
        for (unsigned int i = 0; i < size; i++) resume(backwards ? size - 1 - i : i);
        unsigned int done = 0;
        for (unsigned int t = 0; t < size; t++) done += threads[t].done;
        if (done == size) return true;
        if (done > 0) {
            fprintf(stderr, "%u threads of block %u are gone while others wait in a barrier\n", done, blockIdx.x);
            return false;
        }
        for (unsigned int t = 1; t < size; t++) {
            if (threads[t].barrier == threads[0].barrier) continue;
            fprintf(stderr, "threads 0 and %u of block %u wait in lines %d and %d\n", t, blockIdx.x, threads[0].barrier, threads[t].barrier);
            return false;
        }
    }
}

template <class... Args, size_t... I>
static std::tuple<Args...> unpack(void **values, std::index_sequence<I...>) {
    return {*static_cast<Args *>(values[I])...};
}

// What cuLaunchKernel does: `values` has a pointer to each argument.
template <class... Args>
static bool launch(void (*kernel)(Args...), unsigned int grid, unsigned int size, void **values, bool backwards) {
    auto args = unpack<Args...>(values, std::index_sequence_for<Args...>());
    body = [&] { std::apply(kernel, args); };
    gridDim.x = grid;
    blockDim.x = size;
    for (unsigned int b = 0; b < grid; b++) {
        blockIdx.x = backwards ? grid - 1 - b : b;
        if (!block(size, backwards)) return false;
    }
    return true;
}

} // namespace shim

#define __syncthreads() shim::sync(__LINE__)

template <class T> T atomicAdd(T *at, std::type_identity_t<T> value) { return std::exchange(*at, *at + value); }
template <class T> T atomicExch(T *at, std::type_identity_t<T> value) { return std::exchange(*at, value); }
template <class T> T atomicMin(T *at, std::type_identity_t<T> value) { return std::exchange(*at, value < *at ? value : *at); }
template <class T> T atomicMax(T *at, std::type_identity_t<T> value) { return std::exchange(*at, value > *at ? value : *at); }
template <class T> T atomicCAS(T *at, std::type_identity_t<T> old, std::type_identity_t<T> value) {
    return std::exchange(*at, *at == old ? value : *at);
}
