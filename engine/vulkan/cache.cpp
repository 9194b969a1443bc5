// SPDX-License-Identifier: Apache-2.0
// The pipeline cache file: our own prefix, then what vkGetPipelineCacheData gave. Drivers have crashed on
// damaged or foreign data, so nothing reaches one that has not passed every test here.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/vulkan/program.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t FILE_MAX = 64ull << 20;  // bytes; larger is not ours
constexpr std::uint32_t MAGIC = 0x43505646;      // "FVPC"
constexpr std::uint32_t VERSION = 1;

struct Prefix {
    std::uint32_t magic = MAGIC;
    std::uint32_t version = VERSION;
    std::uint64_t shader_hash = 0;
    std::uint64_t payload_size = 0;
    std::uint32_t driver_version = 0;
    std::uint32_t payload_crc = 0;
};
static_assert(sizeof(Prefix) == 32);

// CRC-32 as in ISO 3309, reflected.
std::uint32_t crc32(const std::byte* data, std::size_t size)
{
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0xedb88320u ^ (value >> 1) : value >> 1;
            made[i] = value;
        }
        return made;
    }();
    std::uint32_t crc = ~0u;
    for (std::size_t i = 0; i < size; ++i) crc = table[(crc ^ std::uint32_t(data[i])) & 255] ^ (crc >> 8);
    return ~crc;
}

// FNV-1a, 64 bit.
std::uint64_t hash(std::span<const Shader> shaders)
{
    std::uint64_t value = 0xcbf29ce484222325ull;
    for (const Shader& shader : shaders)
        for (std::uint32_t word : shader.words) value = (value ^ word) * 0x100000001b3ull;
    return value;
}

std::string cache_folder()
{
    if (const char* chosen = std::getenv("FOVEATE_CACHE_DIR")) return chosen;
    const char* base = std::getenv("XDG_CACHE_HOME");
    if (base && *base == '/') return std::string(base) + "/foveate";
    const char* home = std::getenv("HOME");
    return home && *home == '/' ? std::string(home) + "/.cache/foveate" : std::string();
}

bool read_all(int fd, std::byte* data, std::size_t size)
{
    while (size) {
        const ssize_t got = ::read(fd, data, size);
        if (got <= 0) return false;
        data += got;
        size -= std::size_t(got);
    }
    return true;
}

bool write_all(int fd, const void* data, std::size_t size)
{
    const char* at = static_cast<const char*>(data);
    while (size) {
        const ssize_t put = ::write(fd, at, size);
        if (put <= 0) return false;
        at += put;
        size -= std::size_t(put);
    }
    return true;
}

std::vector<std::byte> load(const std::string& path, std::uint64_t shader_hash,
                            const VkPhysicalDeviceProperties& device)
{
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status{};
    // A file that others can write could hold code for our process to run.
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & (S_IWGRP | S_IWOTH)))
        return {};
    Prefix prefix;
    const std::uint64_t size = std::uint64_t(status.st_size);
    if (size < sizeof prefix || size > FILE_MAX ||
        !read_all(file.get(), reinterpret_cast<std::byte*>(&prefix), sizeof prefix))
        return {};
    if (prefix.magic != MAGIC || prefix.version != VERSION || prefix.shader_hash != shader_hash ||
        prefix.driver_version != device.driverVersion || prefix.payload_size != size - sizeof prefix)
        return {};
    std::vector<std::byte> payload(prefix.payload_size);
    if (!read_all(file.get(), payload.data(), payload.size()) ||
        crc32(payload.data(), payload.size()) != prefix.payload_crc)
        return {};
    VkPipelineCacheHeaderVersionOne header{};
    if (payload.size() < sizeof header) return {};
    std::memcpy(&header, payload.data(), sizeof header);
    if (header.headerSize < sizeof header || header.headerSize > payload.size() ||
        header.headerVersion != VK_PIPELINE_CACHE_HEADER_VERSION_ONE || header.vendorID != device.vendorID ||
        header.deviceID != device.deviceID ||
        std::memcmp(header.pipelineCacheUUID, device.pipelineCacheUUID, VK_UUID_SIZE) != 0)
        return {};
    return payload;
}

}  // namespace

PipelineCache::PipelineCache(const Device& device, std::span<const Shader> shaders)
    : device_(device), shader_hash_(hash(shaders)), folder_(cache_folder())
{
    if (!folder_.empty()) {
        // One file per device and set of shaders, which would otherwise overwrite each other's.
        path_ = folder_ + "/pipelines-" + device.adapter().uuid + (device.features().sources ? "-profile.bin" : ".bin");
        loaded_ = load(path_, shader_hash_, device.adapter().properties);
    }
    VkPipelineCacheCreateInfo info{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    info.initialDataSize = loaded_.size();
    info.pInitialData = loaded_.data();
    VkPipelineCache cache = VK_NULL_HANDLE;
    VkResult result = device.vk.CreatePipelineCache(device.handle(), &info, nullptr, &cache);
    if (result != VK_SUCCESS && !loaded_.empty()) {
        loaded_.clear();
        info.initialDataSize = 0;
        result = device.vk.CreatePipelineCache(device.handle(), &info, nullptr, &cache);
    }
    check(result, "create a pipeline cache");
    cache_ = Owned<VkPipelineCache>(device.handle(), device.vk.DestroyPipelineCache.call, cache);
}

void PipelineCache::save() const
{
    if (path_.empty()) return;
    std::size_t size = 0;
    if (device_.vk.GetPipelineCacheData(device_.handle(), cache_.get(), &size, nullptr) != VK_SUCCESS) return;
    std::vector<std::byte> payload(size);
    if (device_.vk.GetPipelineCacheData(device_.handle(), cache_.get(), &size, payload.data()) != VK_SUCCESS)
        return;
    payload.resize(size);
    if (payload == loaded_ || size + sizeof(Prefix) > FILE_MAX) return;

    for (std::size_t slash = folder_.find('/', 1);; slash = folder_.find('/', slash + 1)) {
        ::mkdir(folder_.substr(0, slash).c_str(), 0700);  // what exists is left as it is
        if (slash == std::string::npos) break;
    }
    std::string temporary = path_ + ".XXXXXX";
    const Fd file(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
    if (!file) return;
    Prefix prefix;
    prefix.shader_hash = shader_hash_;
    prefix.payload_size = size;
    prefix.driver_version = device_.adapter().properties.driverVersion;
    prefix.payload_crc = crc32(payload.data(), size);
    const bool written =
        write_all(file.get(), &prefix, sizeof prefix) && write_all(file.get(), payload.data(), size);
    if (!written || ::rename(temporary.c_str(), path_.c_str()) != 0) ::unlink(temporary.c_str());
}

}  // namespace foveate::vulkan
