// SPDX-License-Identifier: Apache-2.0
// Vulkan calls that can fail are made to fail, one at a time, with every code that matters: each time there is
// a typed error or the right bytes, nothing is left behind, and a new backend works. Every 25th call here, where
// tests/test_fault.py takes every one;
// VULKAN_FAULT_STEP=1 for each of them here too.
#include <vulkan/vulkan_core.h>

#include <chrono>

#include "vulkan_check.h"

using namespace foveate;
using namespace foveate::test;

namespace {

Spec small_spec()
{
    Spec spec;
    spec.layout = {.kind = LayoutKind::grid, .budget = 6, .cell = 8};
    spec.sample = {.patch = 8};
    return spec;
}

const Picture& picture()
{
    static const Picture made(40, 27, 3, 3, Element::u8);
    return made;
}

// From nothing to bytes, and a second call that reuses what the first left; and the same by hardware filters.
Made canonical()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    Made first = run(*backend, {picture().view}, small_spec());
    const Made second = run(*backend, {picture().view}, small_spec());
    check(first == second, "the second run equals the first");
    Spec fast = small_spec();
    fast.exact = false;
    const Made filtered = run(*backend, {picture().view}, fast);
    check(filtered == run(*backend, {picture().view}, fast), "the second run by filters equals the first");
    check(filtered.levels == first.levels && filtered.patches != first.patches, "filters make patches alone");
    first.patches.insert(first.patches.end(), filtered.patches.begin(), filtered.patches.end());
    return first;
}

bool kind_fits(VkResult code, ErrorKind kind)
{
    switch (code) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return kind == ErrorKind::memory;
    case VK_ERROR_DEVICE_LOST: return kind == ErrorKind::device_lost;
    case VK_TIMEOUT: return kind == ErrorKind::timeout;
    default: return kind == ErrorKind::device || kind == ErrorKind::unsupported;
    }
}

void sweep(VkResult code, const Made& expected, std::uint64_t calls, std::uint64_t step)
{
    using Clock = std::chrono::steady_clock;
    std::uint64_t thrown_count = 0;
    for (std::uint64_t k = 1; k <= calls; k += step) {
        const std::string at = "call " + std::to_string(k) + ", VkResult " + std::to_string(code);
        const auto start = Clock::now();
        vulkan::fault_arm(k, code);
        try {
            check(canonical() == expected, at + ": wrong bytes");
        } catch (const Error& error) {
            ++thrown_count;
            check(kind_fits(code, error.kind), at + ": " + error.what());
        }
        vulkan::fault_disarm();
        check(Clock::now() - start < std::chrono::seconds(20), at + ": took too long");
    }
    std::printf("VkResult %d: %llu of %llu calls, %llu errors\n", code,
                static_cast<unsigned long long>((calls + step - 1) / step),
                static_cast<unsigned long long>(calls), static_cast<unsigned long long>(thrown_count));
    check(thrown_count * 3 >= calls / step * 2, "most faults are noticed");
}

// A device that was lost while it worked says so at once, from then on.
void lost()
{
    const Ref<Backend> backend = make_vulkan_backend("", 0);
    run(*backend, {picture().view}, small_spec());  // so that the next one has no buffer to make
    vulkan::fault_arm(0, VK_SUCCESS);
    run(*backend, {picture().view}, small_spec());
    bool seen = false;
    // A run after a failure makes its objects again, which is a few calls more.
    const std::uint64_t calls = vulkan::fault_calls() + 16;
    for (std::uint64_t k = 1; k <= calls && !seen; ++k) {
        vulkan::fault_arm(k, VK_ERROR_DEVICE_LOST);
        try {
            run(*backend, {picture().view}, small_spec());
        } catch (const Error& error) {
            seen = std::strstr(error.what(), "vulkan: submit") ||
                   std::strstr(error.what(), "wait for the device");
        }
        vulkan::fault_disarm();
    }
    check(seen, "a lost device is noticed");
    const std::string text = thrown(ErrorKind::device_lost, [&] { backend->begin(); });
    check(text == "vulkan: begin: got VK_ERROR_DEVICE_LOST, expected VK_SUCCESS. Make a new Engine.", text);
}

}  // namespace

int main()
try {
    const char* step_text = std::getenv("VULKAN_FAULT_STEP");
    const std::uint64_t step = step_text ? std::strtoull(step_text, nullptr, 10) : 25;
    for (const char* staging : {"0", "1"}) {
        setenv("FOVEATE_VULKAN_STAGING", staging, 1);
        vulkan::fault_arm(0, 0);
        const Made expected = canonical();
        const std::uint64_t calls = vulkan::fault_calls();
        const int files = open_files();
        for (VkResult code : {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
                              VK_ERROR_DEVICE_LOST, VK_ERROR_INITIALIZATION_FAILED, VK_TIMEOUT})
            sweep(code, expected, calls, step);
        lost();
        check(canonical() == expected, "a new backend works after all faults");
        check(open_files() == files,
              "files open: " + std::to_string(open_files()) + ", before " + std::to_string(files));
    }
    return report("vulkan_faults");
} catch (const Error& error) {
    check(false, error.what());
    return report("vulkan_faults");
}
