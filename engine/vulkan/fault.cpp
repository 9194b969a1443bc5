// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/fault.h"

#include <atomic>
#include <deque>
#include <mutex>

namespace foveate::vulkan {

namespace {

constexpr std::size_t TEXTS = 32;

std::atomic<std::uint64_t> fault_at{0};
std::atomic<std::uint64_t> fault_count{0};
std::atomic<std::int32_t> fault_result{0};

std::atomic<std::uint64_t> message_count{0};

struct Texts {
    std::mutex mutex;
    std::deque<std::string> last;
};

// Never destroyed: an instance may be torn down after the static destructors have run.
Texts& texts()
{
    static Texts* const kept = new Texts;
    return *kept;
}

}  // namespace

void fault_arm(std::uint64_t k, std::int32_t result)
{
    fault_result = result;
    fault_count = 0;
    fault_at = k;
}

void fault_disarm() { fault_at = 0; }

std::uint64_t fault_calls() { return fault_count; }

bool fault_next(std::int32_t& result)
{
    if (fault_count.fetch_add(1) + 1 != fault_at.load()) return false;
    result = fault_result;
    return true;
}

std::uint64_t messages() { return message_count; }

std::vector<std::string> message_texts()
{
    std::lock_guard lock(texts().mutex);
    return {texts().last.begin(), texts().last.end()};
}

void message_add(const std::string& text)
{
    ++message_count;
    std::lock_guard lock(texts().mutex);
    texts().last.push_back(text);
    if (texts().last.size() > TEXTS) texts().last.pop_front();
}

}  // namespace foveate::vulkan
