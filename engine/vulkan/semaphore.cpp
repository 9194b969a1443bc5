// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/semaphore.h"

namespace foveate::vulkan {

namespace {

const char* name(Sync sync) { return SYNC_NAMES[std::uint32_t(sync)]; }

}  // namespace

SharedSemaphore Semaphores::point_of(VkSemaphore semaphore, std::uint64_t value) const
{
    const Device& device = recorder_.device();
    SharedSemaphore point;
    point.fd = device.share(semaphore);
    point.kind = device.sync();
    point.value = value;
    point.device_uuid = device.adapter().uuid;
    point.driver_uuid = device.adapter().driver_uuid;
    return point;
}

SharedSemaphore Semaphores::signal()
{
    Device& device = recorder_.device();
    const Point done = device.submitted();
    if (device.sync() == Sync::timeline) return point_of(done.semaphore, done.value);
    if (device.sync() == Sync::host) {
        recorder_.wait(done.value);
        return {};
    }
    Flight flight;
    flight.semaphore = device.semaphore(Sync::binary, true);
    const Point signal{flight.semaphore.get(), 0};
    SharedSemaphore point = point_of(signal.semaphore, 0);
    point.value = recorder_.submit(std::move(flight), {}, signal);
    return point;
}

SharedSemaphore Semaphores::expect()
{
    const Device& device = recorder_.device();
    require(device.sync() != Sync::host, "Engine: expect", "an Engine whose work is ordered by the host alone",
            "caps[\"sync\"] of binary or timeline", "Wait for the other side on the host.", ErrorKind::unsupported);
    std::lock_guard lock(mutex_);
    SharedSemaphore point;
    if (device.sync() == Sync::timeline) {
        if (!theirs_.get()) theirs_ = device.semaphore(Sync::timeline, true);
        point = point_of(theirs_.get(), expected_ + 1);
    } else {
        Owned<VkSemaphore> made = device.semaphore(Sync::binary, true);
        point = point_of(made.get(), expected_ + 1);
        given_.emplace(point.value, std::move(made));
    }
    point.expected = true;
    ++expected_;
    return point;
}

Point Semaphores::expected(std::uint64_t value, Owned<VkSemaphore>& used)
{
    std::lock_guard lock(mutex_);
    const auto given = given_.find(value);
    const bool counted = theirs_.get() && value > waited_ && value <= expected_;
    require(counted || given != given_.end(), "Engine: wait: point", value, "one of expect(), and each once",
            "Ask for the next one by expect().");
    if (counted) return waited_ = value, Point{theirs_.get(), value};
    used = std::move(given->second);
    given_.erase(given);
    return {used.get(), 0};
}

Owned<VkSemaphore> Semaphores::imported(SharedSemaphore& point) const
{
    const Device& device = recorder_.device();
    const Adapter& adapter = device.adapter();
    require(point.device_uuid == adapter.uuid && point.driver_uuid == adapter.driver_uuid, "Engine: wait: point",
            "one of device " + point.device_uuid + ", driver " + point.driver_uuid,
            "device " + adapter.uuid + ", driver " + adapter.driver_uuid, "Make both sides on one device.",
            ErrorKind::unsupported);
    require(bool(point.fd), "Engine: wait: fd", point.fd.get(), "an open descriptor", "Signal again.");
    Owned<VkSemaphore> semaphore = device.semaphore(point.kind, false);
    VkImportSemaphoreFdInfoKHR info{VK_STRUCTURE_TYPE_IMPORT_SEMAPHORE_FD_INFO_KHR};
    info.semaphore = semaphore.get();
    info.handleType = SHARED_SEMAPHORE;
    info.fd = point.fd.get();
    check(device.vk.ImportSemaphoreFdKHR(device.handle(), &info), "attach a semaphore");
    point.fd.release();  // the driver's now, since it succeeded
    return semaphore;
}

void Semaphores::wait(SharedSemaphore point)
{
    if (point.kind == Sync::host) return;
    const Sync best = recorder_.device().sync();
    require(point.kind <= best, "Engine: wait: point", std::string("a ") + name(point.kind) + " semaphore",
            std::string("none better than ") + name(best), "Make both sides by the same FOVEATE_SYNC, with share.",
            ErrorKind::unsupported);
    Flight flight;
    Point wait;
    if (point.expected) {
        wait = expected(point.value, flight.semaphore);
    } else {
        flight.semaphore = imported(point);
        wait = {flight.semaphore.get(), point.value};
    }
    recorder_.submit(std::move(flight), wait);
}

}  // namespace foveate::vulkan
