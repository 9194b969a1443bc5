// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/executor.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <map>
#include <memory>
#include <string_view>

#include "engine/error.h"
#include "engine/limits.h"
#include "interop/cuda/texture.h"
#include "interop/cuda/users.h"

namespace foveate::cuda {

namespace {

constexpr int LEAST_COMPUTE = 75;       // the oldest that today's compilers know

std::string version_of(const Driver& driver)
{
    return "CUDA " + std::to_string(driver.version / 1000) + "." + std::to_string(driver.version % 1000 / 10);
}

Candidate candidate_of(const Driver& driver, const Device& device)
{
    Candidate candidate{.backend = "cuda", .device = device.name, .uuid = device.instance_uuid,
                        .driver = version_of(driver), .usable = device.compute >= LEAST_COMPUTE, .reasons = {},
                        .filter_side = std::uint32_t(device.filter_side)};
    if (!candidate.usable)
        candidate.reasons.push_back("compute capability " + std::to_string(device.compute / 10) + "." +
                                    std::to_string(device.compute % 10) + ", needs 7.5");
    return candidate;
}

std::string lower(std::string text)
{
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

bool fits(const Device& device, const std::string& selector)
{
    std::string uuid = lower(selector);
    std::erase(uuid, '-');
    return selector.empty() || selector == std::to_string(device.ordinal) || uuid == device.uuid ||
           uuid == device.instance_uuid || lower(device.name).find(lower(selector)) != std::string::npos;
}

Device choose(const Driver& driver, const std::string& selector)
{
    std::string seen;
    for (const Device& device : devices(driver)) {
        const Candidate candidate = candidate_of(driver, device);
        if (candidate.usable && fits(device, selector)) return device;
        seen += (seen.empty() ? "" : ", ") + device.name + " " + device.uuid;
        for (const std::string& reason : candidate.reasons) seen += " (" + reason + ")";
    }
    fail(ErrorKind::unsupported, "Engine: no CUDA device", seen.empty() ? "none" : seen,
         "one that fits \"" + selector + "\"", "Use backend=\"cpu\".");
}

class CudaExecutor final : public compute::Executor {
public:
    CudaExecutor(const std::string& selector, Compile compile)
        : driver_(need_driver()), device_(choose(driver_, selector)), compile_(std::move(compile)),
          context_(new Context(driver_, device_.ordinal))
    {
        caps_.backend = "cuda";
        caps_.device = device_.name;
        caps_.uuid = device_.instance_uuid;
        caps_.driver = version_of(driver_);
        caps_.software = false;
        caps_.filter_side = std::uint32_t(device_.filter_side);
        // Pointers have no windows; the kernels count words and items in 32 bits.
        limits_.range = ~std::uint32_t(0);
        limits_.alignment = 16;
        limits_.groups = {0x7fffffff, 65535, 65535};
        const Current current(*context_);
        check(driver_, driver_.StreamCreate(&stream_, STREAM_NON_BLOCKING), "create a stream");
        const Result result = driver_.EventCreate(&done_, EVENT_DISABLE_TIMING);
        if (result != SUCCESS) driver_.StreamDestroy(stream_);
        check(driver_, result, "create an event");
    }

    ~CudaExecutor() override
    {
        const Current current(*context_, std::nothrow);
        if (current.result() != SUCCESS) return;
        // What a hung device still works on cannot be freed, and waiting for ever is worse than leaking it.
        if (!idle_ && wait_for(driver_, done_, limits::WAIT_NS) != SUCCESS) return;
        for (const auto& [number, buffer] : buffers_) {
            if (buffer.texture) buffer.texture->release();
            if (buffer.address) driver_.MemFree(buffer.address);
        }
        for (const auto& [name, kernel] : kernels_) driver_.ModuleUnload(kernel.module);
        driver_.EventDestroy(done_);
        driver_.StreamDestroy(stream_);
    }

    const Caps& caps() const override { return caps_; }
    const compute::Limits& limits() const override { return limits_; }
    std::uint64_t pipelines_created() const override { return kernels_made_; }

    std::uint64_t address(std::uint64_t number) override
    {
        const Current current(*context_);
        return place(number);
    }
    void lose(std::uint64_t number) override { buffers_.erase(number); }
    void run(const compute::List& list) override
    {
        for (const auto& made : list.made) {
            buffers_[made.buffer].size = made.size;
            buffers_[made.buffer].shape = made.shape;
        }
        const Current current(*context_);
        settle("wait for the run before");
        for (std::uint64_t number : list.dropped) drop(number);
        if (list.steps.empty()) return;
        for (const compute::Step& step : list.steps)
            if (step.kind == compute::Step::Kind::dispatch) kernel(*step.program);    // compiled before anything runs
        idle_ = false;
        try {
            for (const compute::Step& step : list.steps) take(step);
        } catch (...) {
            driver_.EventRecord(done_, stream_);
            throw;
        }
        check(driver_, driver_.EventRecord(done_, stream_), "mark the end of a run");
        settle("wait for a run");
    }

private:
    struct Buffer {
        std::uint64_t size = 0;
        Address address = 0;            // 0: no step has used it yet
        compute::TextureShape shape;    // levels = 0: a buffer
        std::unique_ptr<Texture> texture;
    };
    struct Kernel {
        ModuleHandle module = nullptr;
        FunctionHandle function = nullptr;
    };

    void settle(const char* doing)
    {
        if (idle_) return;
        const Result result = wait_for(driver_, done_, limits::WAIT_NS);
        require(result != NOT_READY, std::string("cuda: ") + doing,
                "no answer after " + std::to_string(wait_limit_ns / 1000000) + " ms", "one in time",
                "Make a new Engine.", ErrorKind::timeout);
        idle_ = true;
        check(driver_, result, doing);
    }

    void drop(std::uint64_t number)
    {
        const auto found = buffers_.find(number);
        if (found == buffers_.end()) return;
        const Address address = found->second.address;
        const std::unique_ptr<Texture> texture = std::move(found->second.texture);
        buffers_.erase(found);
        if (texture) check(driver_, texture->release(), "free a texture");
        if (address) check(driver_, driver_.MemFree(address), "free memory");
    }

    Address place(std::uint64_t number)
    {
        Buffer& buffer = buffers_.at(number);
        if (!buffer.address) check(driver_, driver_.MemAlloc(&buffer.address, buffer.size), "allocate memory");
        return buffer.address;
    }

    void take(const compute::Step& step)
    {
        if (step.kind == compute::Step::Kind::upload) {
            check(driver_, driver_.MemcpyHtoDAsync(place(step.buffer), step.host, step.size, stream_), "upload");
            return;
        }
        if (step.kind == compute::Step::Kind::read) {
            check(driver_, driver_.MemcpyDtoHAsync(step.host, place(step.buffer), step.size, stream_), "read back");
            return;
        }
        if (step.kind == compute::Step::Kind::copy) {
            const Address to = place(step.buffer) + step.offset, from = place(step.from) + step.from_offset;
            check(driver_, driver_.MemcpyDtoDAsync(to, from, step.size, stream_), "copy an image");
            return;
        }
        if (step.kind == compute::Step::Kind::texture) {
            Buffer& made = buffers_.at(step.buffer);
            if (!made.texture) made.texture = std::make_unique<Texture>(driver_, made.shape);
            made.texture->fill(place(step.from) + step.from_offset, stream_);
            return;
        }
        std::vector<Address> addresses;     // and textures, which are as wide
        for (const compute::Part& part : step.parts) {
            const std::unique_ptr<Texture>& texture = buffers_.at(part.buffer).texture;
            addresses.push_back(texture ? texture->handle() : place(part.buffer) + part.offset);
        }
        std::vector<void*> arguments;
        for (Address& one : addresses) arguments.push_back(&one);
        std::vector<std::byte> params = step.params;
        if (!params.empty()) arguments.push_back(params.data());
        const auto& local = step.program->reflection().local;
        const auto& groups = step.groups;
        check(driver_,
              driver_.LaunchKernel(kernel(*step.program), groups[0], groups[1], groups[2], local[0], local[1],
                                   local[2], 0, stream_, arguments.data(), nullptr),
              "launch a kernel");
    }

    FunctionHandle kernel(const compute::Program& program)
    {
        const auto known = kernels_.find(program.name());
        if (known != kernels_.end()) return known->second.function;
        const char* text = nullptr;
        for (const compute::Shader& shader : compute::shaders())
            if (std::string_view(shader.name) == program.name()) text = shader.cuda;
        const std::vector<std::byte> image = compile_(program.name(), text, device_.compute);
        Kernel made;
        check(driver_, driver_.ModuleLoadData(&made.module, image.data()), "load a kernel");
        const Result result = driver_.ModuleGetFunction(&made.function, made.module, program.name());
        if (result != SUCCESS) driver_.ModuleUnload(made.module);
        check(driver_, result, "find a kernel");
        kernels_.emplace(program.name(), made);
        ++kernels_made_;
        return made.function;
    }

    const Driver& driver_;
    const Device device_;
    const Compile compile_;
    Ref<Context> context_;
    Stream stream_ = nullptr;
    EventHandle done_ = nullptr;
    bool idle_ = true;                  // nothing was begun that is not known to have ended
    Caps caps_;
    compute::Limits limits_;
    std::map<std::uint64_t, Buffer> buffers_;
    std::map<std::string, Kernel, std::less<>> kernels_;
    std::atomic<std::uint64_t> kernels_made_{0};
};

}  // namespace

std::vector<Candidate> candidates()
{
    Candidate none{.backend = "cuda", .device = "no device", .uuid = {}, .driver = {}, .reasons = {}};
    try {
        std::string reason;
        const Driver* driver = find_driver(reason);
        std::vector<Candidate> found;
        if (driver)
            for (const Device& device : devices(*driver)) found.push_back(candidate_of(*driver, device));
        if (!found.empty()) return found;
        none.reasons.push_back(driver ? driver->name + " sees no device" : reason);
    } catch (const Error& error) {
        none.reasons.push_back(error.what());
    }
    return {none};
}

Ref<compute::Executor> make_executor(const std::string& device_selector, Compile compile)
{
    return Ref<compute::Executor>(new CudaExecutor(device_selector, std::move(compile)));
}

}  // namespace foveate::cuda
