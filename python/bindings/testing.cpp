// SPDX-License-Identifier: Apache-2.0
// foveate._core.testing: what the tests need and nobody else.
#include <thread>

#include "bindings.h"
#include "engine/error.h"
#include "engine/vulkan/fault.h"

namespace foveate::bindings {

namespace {

// Outlives the interpreter: static objects end after Py_Finalize().
std::vector<dlpack::Lease>& kept()
{
    static std::vector<dlpack::Lease> leases;
    return leases;
}

}  // namespace

void bind_testing(nb::module_& module)
{
    module.def("release_on_thread",
               [](nb::handle capsule, bool cuda) {
                   dlpack::Lease lease = lease_of(capsule, cuda ? dlpack::CUDA : dlpack::CPU);
                   nb::gil_scoped_release unlocked;
                   std::thread([&] { lease.reset(); }).join();
               },
               nb::arg("capsule"), nb::arg("cuda") = false,
               "Consumes an array and ends it on a thread that has never seen Python.");
    module.def("release_at_exit",
               [](nb::handle capsule, bool cuda) {
                   kept().push_back(lease_of(capsule, cuda ? dlpack::CUDA : dlpack::CPU));
               },
               nb::arg("capsule"), nb::arg("cuda") = false,
               "Consumes an array and ends it after the interpreter is gone.");
    module.def("cuda_wait_limit", [](std::uint64_t wait_ns) { cuda::wait_limit_ns = wait_ns; }, nb::arg("wait_ns"));
    module.def("fault_arm", &vulkan::fault_arm, nb::arg("k"), nb::arg("result"));
    module.def("fault_disarm", &vulkan::fault_disarm);
    module.def("fault_calls", &vulkan::fault_calls);
    module.def("messages", &vulkan::messages);
    module.def("message_texts", &vulkan::message_texts);
}

}  // namespace foveate::bindings
