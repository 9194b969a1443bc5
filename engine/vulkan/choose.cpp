// SPDX-License-Identifier: Apache-2.0
// Which device: every library that offers Vulkan, every adapter it shows, and the one that is asked for.
#include <algorithm>
#include <cctype>

#include "engine/vulkan/backend.h"
#include "engine/vulkan/context.h"
#include "engine/vulkan/error.h"

namespace foveate::vulkan {

namespace {

struct Found {
    std::vector<Choice> choices;
    std::vector<Candidate> candidates;  // the choices, then what could not even be listed
};

Candidate candidate_of(const Adapter& adapter)
{
    return {.backend = "vulkan",
            .device = adapter.name,
            .uuid = adapter.uuid,
            .driver = adapter.driver,
            .usable = adapter.usable(),
            .reasons = adapter.reasons,
            .software = adapter.software,
            .in_place = adapter.host_alignment > 0 && adapter.unified(),
            .shares = adapter.shares,
            .sync = adapter.sync,
            .profiling = adapter.profiling(),
            .shading_rate = adapter.shading_rate,
            .filter_side = adapter.properties.limits.maxImageDimension2D};
}

// A library that fails is a reason, not an error: the next one may work. Being out of memory or losing the
// device is no property of the library, and is passed on.
void look(const Library& library, Found& found, std::vector<std::string>& reasons)
{
    try {
        Ref<Instance> instance(new Instance(library));
        for (Adapter& adapter : adapters(*instance)) {
            found.candidates.push_back(candidate_of(adapter));
            found.choices.push_back({instance, std::move(adapter)});
        }
        if (found.choices.empty()) reasons.push_back(library.name + " shows no device");
    } catch (const Error& error) {
        if (error.kind != ErrorKind::device && error.kind != ErrorKind::unsupported) throw;
        reasons.push_back(library.name + " failed: " + error.what());
    }
}

Found find()
{
    Found found;
    std::vector<std::string> reasons;
    std::string reason;
    if (const Library* library = loader_library(reason))
        look(*library, found, reasons);
    else
        reasons.push_back(reason);
    // A container often has a GPU's driver without its manifest, and Mesa's software device beside it.
    const bool hardware = std::any_of(found.choices.begin(), found.choices.end(),
                                      [](const Choice& choice) { return !choice.adapter.software; });
    if (!hardware)
        for (const Library* library : driver_libraries(!found.choices.empty()))
            if (found.choices.empty() || found.choices.back().adapter.software)
                look(*library, found, reasons);
    if (found.choices.empty())
        found.candidates.push_back({.backend = "vulkan",
                                    .device = "no device",
                                    .uuid = {},
                                    .driver = {},
                                    .usable = false,
                                    .reasons = reasons});
    return found;
}

std::string described(const std::vector<Candidate>& candidates)
{
    std::string text;
    for (const Candidate& candidate : candidates) {
        text += (text.empty() ? "" : "; ") + candidate.device;
        if (candidate.usable) continue;
        text += " (";
        for (std::size_t i = 0; i < candidate.reasons.size(); ++i)
            text += (i ? ", " : "") + candidate.reasons[i];
        text += ")";
    }
    return text;
}

std::string lower(std::string text)
{
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return char(std::tolower(c)); });
    return text;
}

bool all_of(const std::string& text, int (*is)(int))
{
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [&](char c) { return is(static_cast<unsigned char>(c)) != 0; });
}

bool matches(const Adapter& adapter, std::size_t index, const std::string& selector)
{
    if (selector.empty()) return adapter.usable();
    std::string digits = lower(selector);
    std::erase(digits, '-');
    if (digits.size() == 2 * VK_UUID_SIZE && all_of(digits, std::isxdigit)) return adapter.uuid == digits;
    if (selector.size() <= 3 && all_of(selector, std::isdigit)) return index == std::stoul(selector);
    return lower(adapter.name).find(lower(selector)) != std::string::npos;
}

}  // namespace

Choice choose_adapter(const std::string& selector)
{
    Found found = find();
    for (std::size_t i = 0; i < found.choices.size(); ++i) {
        Choice& choice = found.choices[i];
        if (matches(choice.adapter, i, selector) && choice.adapter.usable()) return std::move(choice);
    }
    if (!selector.empty() && !found.choices.empty())
        fail(ErrorKind::unsupported, "Engine: device", '"' + selector + '"',
             "the UUID, index or part of the name of a usable one of: " + described(found.candidates),
             "Use backend=\"cpu\".");
    fail(ErrorKind::unsupported, "Engine: no Vulkan device: " + described(found.candidates), "", "",
         "Use backend=\"cpu\".");
}

}  // namespace foveate::vulkan

namespace foveate {

std::vector<Candidate> vulkan_candidates()
{
    try {
        return vulkan::find().candidates;
    } catch (const Error& error) {
        return {{.backend = "vulkan",
                 .device = "no device",
                 .uuid = {},
                 .driver = {},
                 .usable = false,
                 .reasons = {error.what()}}};
    }
}

}  // namespace foveate
