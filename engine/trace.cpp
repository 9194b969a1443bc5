// SPDX-License-Identifier: Apache-2.0
#include "engine/trace.h"

#include "engine/run.h"

namespace foveate {

std::vector<Span> Engine::spans()
{
    state_->check_process();
    std::vector<Span> all;
    for (auto& [name, backend] : state_->backends)
        for (Span& span : backend->spans()) all.push_back(std::move(span));
    return all;
}

std::vector<Kernel> Engine::kernels()
{
    state_->check_process();
    std::vector<Kernel> all;
    for (auto& [name, backend] : state_->backends)
        for (Kernel& kernel : backend->kernels()) all.push_back(std::move(kernel));
    return all;
}

bool Engine::copy(std::uint64_t size)
{
    state_->check_process();
    Backend& backend = state_->backend(Stage::sample);
    Run run(*state_);
    const bool traced = backend.copy(run.on(backend), size);
    run.finish();
    return traced;
}

}  // namespace foveate
