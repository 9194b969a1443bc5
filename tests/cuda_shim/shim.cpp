// SPDX-License-Identifier: Apache-2.0
// Runs CUDA kernels on the host, a block after the other. Where the threads of a block wait for one another each has
// a stack of its own and gives way at every barrier; else they run one after the other.
#undef _FORTIFY_SOURCE  // it takes a jump to another stack for a mistake
#include <setjmp.h>
#include <ucontext.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/cuda_shim/builtins.h"

namespace foveate::shim {

constinit thread_local Index thread_index, block_index, grid_size;

namespace {

constexpr std::size_t STACK = 64 << 10;

std::vector<Kernel>& kernels()
{
    static std::vector<Kernel> all;
    return all;
}

const Kernel* find(const char* name)
{
    for (const Kernel& kernel : kernels())
        if (!strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}

Index place_of(const Kernel& kernel, unsigned lane)
{
    return {lane % kernel.block.x, lane / kernel.block.x % kernel.block.y, lane / kernel.block.x / kernel.block.y};
}

// A thread of a block. It lives on for the next blocks: a context is made once, and the jumps make no system call.
struct Lane {
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t start;
    jmp_buf at;
    bool started = false, done = false;
};

struct Lanes {
    std::vector<std::unique_ptr<Lane>> all;
    Lane* current = nullptr;
    jmp_buf home;
    const Kernel* kernel = nullptr;
    void** args = nullptr;
};
thread_local Lanes lanes;

void give_way()
{
    if (!_setjmp(lanes.current->at)) _longjmp(lanes.home, 1);
}

void live()
{
    for (;;) {
        lanes.kernel->call(lanes.args);
        lanes.current->done = true;
        give_way();
    }
}

void resume(Lane& lane)
{
    lanes.current = &lane;
    if (_setjmp(lanes.home)) return;
    if (lane.started) _longjmp(lane.at, 1);
    lane.started = true;
    getcontext(&lane.start);
    lane.start.uc_stack = {lane.stack.get(), 0, STACK};
    lane.start.uc_link = nullptr;
    makecontext(&lane.start, live, 0);
    setcontext(&lane.start);
}

// False: some threads ended while others wait.
bool run_waiting(const Kernel& kernel, unsigned count, void** args)
{
    while (lanes.all.size() < count) lanes.all.push_back(std::make_unique<Lane>());
    lanes.kernel = &kernel;
    lanes.args = args;
    for (unsigned i = 0; i < count; ++i) lanes.all[i]->done = false;
    for (unsigned ended = 0; ended < count;) {
        for (unsigned i = 0; i < count; ++i) {
            thread_index = place_of(kernel, i);
            resume(*lanes.all[i]);
            ended += lanes.all[i]->done;
        }
        if (ended > 0 && ended < count) {
            lanes.all.clear();  // their stacks are in the middle of a kernel
            return false;
        }
    }
    return true;
}

bool run_block(const Kernel& kernel, void** args)
{
    const unsigned count = kernel.block.x * kernel.block.y * kernel.block.z;
    if (kernel.waits) return run_waiting(kernel, count, args);
    for (unsigned i = 0; i < count; ++i) {
        thread_index = place_of(kernel, i);
        kernel.call(args);
    }
    return true;
}

}  // namespace

void wait_for_block() { give_way(); }

Register::Register(const Kernel& kernel) { kernels().push_back(kernel); }

}  // namespace foveate::shim

#define EXPORT extern "C" __attribute__((visibility("default")))

// Threads of one block of this kernel; 0, or 1 where there is no such kernel.
EXPORT int foveate_kernel_block(const char* name, unsigned block[3])
{
    const foveate::shim::Kernel* kernel = foveate::shim::find(name);
    if (!kernel) return 1;
    block[0] = kernel->block.x;
    block[1] = kernel->block.y;
    block[2] = kernel->block.z;
    return 0;
}

// Runs a grid to its end; without one it says whether there is such a kernel. args: a pointer to each argument, as for
// cuLaunchKernel. 0; 1 where there is no such kernel; 2 where the threads of a block do not meet at their barriers.
EXPORT int foveate_kernel(const char* name, const unsigned grid[3], void** args)
{
    using namespace foveate::shim;
    const Kernel* kernel = find(name);
    if (!kernel) return 1;
    if (!grid) return 0;
    grid_size = {grid[0], grid[1], grid[2]};
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                if (!run_block(*kernel, args)) return 2;
            }
    return 0;
}
