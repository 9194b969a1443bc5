// SPDX-License-Identifier: Apache-2.0
#include "engine/lost.h"

#include <mutex>
#include <new>
#include <vector>

namespace foveate {

void lose(Ref<Counted> object) noexcept
{
    static std::mutex mutex;
    static auto* const lost = new (std::nothrow) std::vector<Ref<Counted>>;  // outlives every static destructor
    std::lock_guard lock(mutex);
    object->retain();  // without room in the list it is forgotten all the same
    if (!lost) return;
    try {
        lost->push_back(std::move(object));
    } catch (const std::bad_alloc&) {
    }
}

}  // namespace foveate
