// SPDX-License-Identifier: Apache-2.0
// Planted faults that a sanitizer must report. Usage: sanitizer none|heap|leak|undefined|race
// Each is one that the compiler cannot see through and remove. "none" is the control: it must end with 0.
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <thread>

namespace {

volatile int sink = 0;
volatile int largest = std::numeric_limits<int>::max();
int shared_count = 0;

void use_after_free()
{
    int* volatile block = new int[16]{};
    delete[] block;
    sink = block[3];
}

// Out of line, and written over afterwards: nothing on the stack or in a register points to it any more.
__attribute__((noinline)) void leak()
{
    char* volatile block = static_cast<char*>(std::malloc(1000));
    block[0] = 1;
    block = nullptr;
}

void overflow() { sink = largest + 1; }

void race()
{
    const auto count = [] {
        for (int i = 0; i < 10000; ++i) ++shared_count;
    };
    std::thread first(count), second(count);
    first.join();
    second.join();
    sink = shared_count;
}

}  // namespace

int main(int argc, char** argv)
{
    const std::string_view fault = argc > 1 ? argv[1] : "";
    if (fault == "heap")
        use_after_free();
    else if (fault == "leak")
        leak();
    else if (fault == "undefined")
        overflow();
    else if (fault == "race")
        race();
    else if (fault != "none")
        return 2;
    std::puts("ran to the end");
    return 0;
}
