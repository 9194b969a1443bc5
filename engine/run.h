// SPDX-License-Identifier: Apache-2.0
// What an Engine keeps, and one call through its stages: for the files of class Engine alone.
#pragma once

#include <unistd.h>

#include <atomic>
#include <functional>

#include "engine/engine.h"
#include "engine/stages/warp.h"

namespace foveate {

struct Engine::State {
    pid_t pid = getpid();
    std::map<std::string, Ref<Backend>> backends;  // by name, made on first need
    std::array<Backend*, STAGE_COUNT> at{};        // stage -> backend
    WarpTables warp_tables;
    std::uint32_t filter_side = 0;                 // of the stage sample's device; 0: it is not to filter
    std::atomic<std::uint64_t> fast_samples{0};

    // A fork leaves the child without our threads and with a driver that no longer answers.
    void check_process() const
    {
        if (getpid() != pid) [[unlikely]]
            fail(ErrorKind::forked, "Engine: process " + std::to_string(getpid()), "an Engine made by its parent",
                 "one made after fork()", "Make a new Engine in the child, or start workers with spawn.");
    }
    Backend& backend(Stage stage) const { return *at[std::uint32_t(stage)]; }
    // The one that works beside the host, if any does.
    Backend& device() const
    {
        const auto found = backends.find("vulkan");
        return found == backends.end() ? *backends.begin()->second : *found->second;
    }
    Backend& owner(const Ref<Block>& block) const
    {
        for (const auto& [name, backend] : backends)
            if (backend.get() == block->owner()) return *backend;
        fail(ErrorKind::input, "Engine: value", "one made by another Engine", "one made by this Engine",
             "Make every stage's input with the same Engine.");
    }
};

// A Record on every backend that a call meets, and values carried from one to another.
class Run {
public:
    template <class State>
    explicit Run(const State& state)
        : owner_([&state](const Ref<Block>& block) -> Backend& { return state.owner(block); })
    {
    }

    Record& on(Backend& backend)
    {
        for (auto& [known, record] : records_)
            if (known == &backend) return *record;
        records_.emplace_back(&backend, backend.begin());
        return *records_.back().second;
    }

    void finish()
    {
        for (auto& [backend, record] : records_) backend->finish(*record);
        records_.clear();
    }

    // The block on another backend: by way of the host, unless it is there already.
    Ref<Block> carry(Backend& to, const Ref<Block>& block)
    {
        if (!block || block->owner() == &to) return block;
        Backend& from = owner_(block);
        const Ref<Block> host = from.tensor(on(from), block);
        finish();
        return to.upload(on(to), host->host(), host->size());
    }

    // A pyramid that another backend built, or whose image it read.
    Pyramid carry(Backend& to, Pyramid pyramid)
    {
        pyramid.levels = carry(to, pyramid.levels);
        if (!pyramid.image.pixels || pyramid.image.pixels->owner() != &to) {
            pyramid.image.pixels = {};
            pyramid.image = to.image(on(to), std::move(pyramid.image));
        }
        return pyramid;
    }

private:
    std::function<Backend&(const Ref<Block>&)> owner_;
    std::vector<std::pair<Backend*, Ref<Record>>> records_;
};

}  // namespace foveate
