// SPDX-License-Identifier: Apache-2.0
// The backend cuda: its kernels are compiled by a Python function, since the compiler is a Python package's.
#include "bindings.h"
#include "engine/error.h"
#include "interop/cuda/executor.h"

namespace foveate::bindings {

namespace {

// Held without the GIL, and let go with it.
class Compiler {
public:
    explicit Compiler(nb::object function) : function_(std::move(function)) {}
    Compiler(const Compiler&) = delete;
    ~Compiler()
    {
        if (!Py_IsInitialized()) {
            function_.release();
            return;
        }
        nb::gil_scoped_acquire locked;
        function_.reset();
    }

    std::vector<std::byte> operator()(const char* shader, const char* text, int compute) const
    {
        nb::gil_scoped_acquire locked;
        std::string failure;
        try {
            const auto image = nb::cast<nb::bytes>(function_(shader, text, compute));
            const auto* bytes = static_cast<const std::byte*>(image.data());
            return {bytes, bytes + image.size()};
        } catch (nb::python_error& error) {
            failure = nb::cast<std::string>(nb::str(error.value()));
        }
        fail(ErrorKind::unsupported, "cuda: compile " + std::string(shader), failure, "a kernel",
             "Run: pip install 'foveate[cuda]'");
    }

private:
    nb::object function_;
};

}  // namespace

void bind_cuda_executor(nb::module_& module)
{
    nb::class_<NativeExecutor>(module, "NativeExecutor");
    module.def(
        "cuda_executor",
        [](const std::string& device, nb::object compile) {
            auto compiler = std::make_shared<Compiler>(std::move(compile));
            nb::gil_scoped_release unlocked;
            return NativeExecutor{cuda::make_executor(
                device, [compiler](const char* shader, const char* text, int compute) {
                    return (*compiler)(shader, text, compute);
                })};
        },
        nb::arg("device"), nb::arg("compile"),
        "What runs the backend cuda on a device; `compile` makes a kernel of its name, text and compute capability.");
    module.def("cuda_candidates", [] {
        std::vector<Candidate> found;
        {
            nb::gil_scoped_release unlocked;
            found = cuda::candidates();
        }
        nb::list list;
        for (const Candidate& candidate : found) list.append(candidate_table(candidate));
        return list;
    });
}

}  // namespace foveate::bindings
