// SPDX-License-Identifier: Apache-2.0
// Memory that callers write to, and what an Engine shares with other devices, APIs and processes.
#include "engine/engine.h"
#include "engine/run.h"
#include "engine/stages/plan.h"

namespace foveate {

Ref<Block> Engine::empty(std::uint64_t size, bool accompanied)
{
    state_->check_process();
    Backend& backend = state_->backend(Stage::pyramid);
    return accompanied ? backend.empty_on_device(size) : backend.empty(size);
}

SharedMemory Engine::share(const Ref<Block>& block, bool accompanied)
{
    state_->check_process();
    return state_->owner(block).share(block, accompanied);
}

Ref<Block> Engine::attach(SharedMemory memory)
{
    state_->check_process();
    return state_->backend(Stage::pyramid).attach(std::move(memory));
}

Ref<Block> Engine::attach_texture(SharedTexture texture)
{
    state_->check_process();
    return state_->backend(Stage::pyramid).attach_texture(std::move(texture));
}

Ref<Block> Engine::take(const Ref<Block>& texture)
{
    state_->check_process();
    Backend& backend = state_->owner(texture);
    Run run(*state_);
    Ref<Block> taken = backend.take(run.on(backend), texture);
    run.finish();
    return taken;
}

SharedTexture Engine::texture(const Pyramid& pyramid, std::uint32_t image)
{
    state_->check_process();
    check_texture(pyramid, image);
    Backend& backend = state_->backend(Stage::pyramid);
    if (pyramid.levels) state_->owner(pyramid.levels);
    Run run(*state_);
    const Pyramid from = run.carry(backend, pyramid);
    SharedTexture texture = backend.texture(run.on(backend), from, image);
    run.finish();
    return texture;
}

SharedTexture Backend::texture(Record&, const Pyramid&, std::uint32_t)
{
    fail(ErrorKind::unsupported, "Engine: texture", "the " + caps().backend + " backend", "vulkan",
         "Use Engine(backend=\"vulkan\", share=True).");
}

SharedSemaphore Engine::signal()
{
    state_->check_process();
    return state_->device().signal();
}

SharedSemaphore Engine::expect()
{
    state_->check_process();
    return state_->device().expect();
}

void Engine::wait(SharedSemaphore point)
{
    state_->check_process();
    state_->device().wait(std::move(point));
}

void Engine::settle()
{
    state_->check_process();
    for (const auto& [name, backend] : state_->backends) backend->settle();
}

}  // namespace foveate
