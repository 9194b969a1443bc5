// SPDX-License-Identifier: Apache-2.0
// Images with mip levels for shaders to filter. They are kept for the next call, by shape: frames of a video find
// theirs again.
#pragma once

#include <list>

#include "engine/compute/record.h"
#include "engine/vulkan/device.h"

namespace foveate::vulkan {

class Mipmaps;

class Mipmap final : public Block {
public:
    std::byte* host() override { return nullptr; }
    VkImage image() const { return made_.front().image.get(); }
    // In SHADER_READ_ONLY_OPTIMAL, when it is filled.
    VkDescriptorImageInfo descriptor() const;

private:
    friend class Mipmaps;
    struct Made {                       // the last one is destroyed first
        compute::TextureShape shape;
        std::uint64_t size = 0;         // bytes of the budget
        Owned<VkDeviceMemory> memory;
        Owned<VkImage> image;
        Owned<VkImageView> view;
    };
    Mipmap(Ref<Mipmaps> pool, std::list<Made> made);
    void last_release() override;

    Ref<Mipmaps> pool_;
    std::list<Made> made_;              // one, in a list so that giving it back takes no memory
};

// Safe from any thread.
class Mipmaps final : public Counted {
public:
    explicit Mipmaps(Ref<Device> device) : device_(std::move(device)) {}
    ~Mipmaps() override;

    // Its texels are anything. Throws ErrorKind::memory over the budget or when the device has no more.
    Ref<Mipmap> acquire(const compute::TextureShape& shape);
    // Frees what nobody uses. True: there was something.
    bool drop() { return trim(0); }

private:
    friend class Mipmap;
    std::list<Mipmap::Made> make(const compute::TextureShape& shape);
    void give_back(std::list<Mipmap::Made> made);
    bool trim(std::uint64_t size_max);
    void last_release() override;

    Ref<Device> device_;
    std::mutex mutex_;
    Owned<VkSampler> sampler_;          // one for all, made with the first image
    std::list<Mipmap::Made> free_;    // longest unused first
    std::uint64_t free_size_ = 0;
};

}  // namespace foveate::vulkan
