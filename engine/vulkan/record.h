// SPDX-License-Identifier: Apache-2.0
// Recording and running: a VulkanRecord is one command buffer's worth of stages. The Vulkan objects behind it
// are recycled through the Recorder. Every buffer a command uses is held until the command is done.
#pragma once

#include <atomic>
#include <list>
#include <memory>

#include "engine/compute/record.h"
#include "engine/trace.h"
#include "engine/vulkan/mipmap.h"
#include "engine/vulkan/program.h"
#include "engine/vulkan/texture.h"

namespace foveate::vulkan {

enum Scope : std::uint32_t { COMPUTE = 1, TRANSFER = 2, HOST = 4 };

using compute::Binding;
using compute::bytes_of;
using compute::Groups;

inline constexpr std::uint32_t TIMED = 256;  // dispatches of one recording that are traced

// The Vulkan objects of one recording.
struct Recording {
    Owned<VkCommandPool> pool;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    std::vector<Owned<VkDescriptorPool>> set_pools;
    std::uint32_t sets_used = 0;
    Owned<VkQueryPool> times;           // two for each of:
    std::vector<const char*> timed;     // names of dispatches
};

// What the device works on, and what must live until it is done.
struct Flight {
    std::unique_ptr<Recording> recording;   // null: semaphores alone
    std::vector<Ref<Block>> held;
    std::vector<Buffer*> made;              // of those held: the ones it writes
    Owned<VkSemaphore> semaphore;
    std::uint64_t value = 0;                // of the device's timeline
};

// Safe from any thread.
class Recorder : public Counted {
public:
    // trace: recordings say when each dispatch ran, where the queue can tell.
    // ahead: the host goes on while the device works.
    Recorder(Ref<Device> device, bool trace, bool ahead = false);

    Device& device() const { return *device_; }
    const Buffer& dummy() const { return *dummy_; }
    Mipmaps& mipmaps() const { return *mipmaps_; }

    std::unique_ptr<Recording> take();
    // Hands it to the device; see Device::submit. It is kept until it is known to be done.
    std::uint64_t submit(Flight flight, const Point& wait = {}, const Point& signal = {});
    // Waits, bounded, until the device has done what was submitted up to this value.
    void wait(std::uint64_t value);
    // Waits, bounded, for everything. False: the device still has some of it, and nothing may be destroyed.
    bool settle();

    // What `acquire` returns, tried again when what the device has done already is let go of, and images nobody uses.
    template <class Acquire>
    auto with_room(Acquire acquire)
    {
        try {
            return acquire();
        } catch (const Error& error) {
            if (error.kind != ErrorKind::memory) throw;
            const bool settled = ahead_ && settle();
            if (!mipmaps_->drop() && !settled) throw;
            return acquire();
        }
    }

    std::vector<Span> spans();
    bool ahead() const { return ahead_ && !trace_; }  // the times of a run are told when it ends
    bool submit_per_pass() const { return submit_per_pass_; }
    bool traces() const { return trace_; }

    std::atomic<std::uint64_t> records{0}, spans_dropped{0};

private:
    // What is done is let go of.
    void reap();
    void make_way();
    void give_back(std::unique_ptr<Recording> recording);
    void add_spans(const Recording& recording, std::uint64_t submit);

    Ref<Device> device_;
    Ref<Buffer> dummy_;
    Ref<Mipmaps> mipmaps_;
    const bool trace_, ahead_, submit_per_pass_;
    std::mutex mutex_;
    std::vector<Span> spans_;
    std::vector<std::unique_ptr<Recording>> free_;
    std::list<Flight> flights_;
};

class VulkanRecord final : public compute::ComputeRecord {
public:
    explicit VulkanRecord(Ref<Recorder> recorder) : recorder_(std::move(recorder)) { ++recorder_->records; }

    Device& device() const { return recorder_->device(); }
    const Recorder& recorder() const { return *recorder_; }

    Ref<Buffer> buffer(Use use, std::uint64_t size);
    Ref<Block> buffer(std::uint64_t size) override { return buffer(Use::device, size); }
    void hold(Ref<Block> block) { held_.push_back(std::move(block)); }
    // Hands it to the others who share it, when what is recorded is done.
    void hand_over(const Ref<Buffer>& buffer);
    // Its first level, in rows, into a buffer that lives as long as this recording's work.
    void take(const Ref<Texture>& texture, const Ref<Buffer>& to);
    // Rows into each level of a new one, which is handed to the others who share it.
    void give(const Buffer& rows, const compute::TextureShape& shape, const Ref<Texture>& texture);
    Ref<Block> texture(const Ref<Block>& rows, std::uint64_t offset, const compute::TextureShape& shape) override;
    // Takes it back too, for as long as this recording works, where it is shared with others.
    void use(const Ref<Block>& buffer) override;
    std::byte* fill(const Ref<Block>& buffer) override;
    Ref<Buffer> read_back(const Ref<Buffer>& buffer);
    Ref<Buffer> near(const Ref<Buffer>& buffer);  // the same bytes in the device's own memory

    void begin_stage() override;
    void dispatch(const compute::Program& program, std::span<const std::byte> params,
                  std::span<const Binding> bindings, const Groups& groups) override;
    // A copy that shows in the trace.
    void copy_traced(const char* name, const Buffer& from, const Buffer& to, std::uint64_t size);
    // Ends the recording, runs it and waits, unless the host runs ahead. Nothing recorded: nothing done.
    void finish();

    // For commands that are no dispatch; begun where it was not.
    VkCommandBuffer commands();

private:
    // Into each level of an image that is in TRANSFER_DST_OPTIMAL.
    void copy_rows(const Buffer& rows, std::uint64_t offset, VkImage image, const compute::TextureShape& shape);
    void copy(const Buffer& from, const Buffer& to, std::uint64_t size);
    void stage_barrier(std::uint32_t from, std::uint32_t to);
    template <class Work>
    void traced(const char* name, Work&& work);
    void own_barrier(const Buffer& buffer, bool take);
    std::uint64_t run(std::vector<Ref<Buffer>> shared);
    VkDescriptorSet descriptor_set(const Program& program);
    void write_set(VkDescriptorSet set, const Program& program, std::span<const Binding> bindings) const;
    void last_release() override;

    Ref<Recorder> recorder_;
    std::unique_ptr<Recording> recording_;
    std::vector<Ref<Block>> held_;
    std::vector<Buffer*> made_;         // of those held: the ones that this recording writes
    std::vector<Ref<Buffer>> shared_;   // to hand over at the end
    bool borrowed_ = false;             // reads pages that are the caller's again when finish() returns
    std::uint32_t written_ = 0;         // Scopes with writes that no barrier has followed
};

}  // namespace foveate::vulkan
