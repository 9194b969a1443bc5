# SPDX-License-Identifier: Apache-2.0
"""Engines on every backend that the tests expect. A missing one fails; it never skips.

FOVEATE_TEST_BACKENDS   comma list of cpu, lavapipe, swiftshader, opengl, cuda; all unless it says otherwise
FOVEATE_ICD_LAVAPIPE    driver manifests, where they are not in the system's usual place
FOVEATE_ICD_SWIFTSHADER
FOVEATE_ICD_MOCK        manifest of Khronos' mock driver, which executes nothing
FOVEATE_LAYERS_NEW      folder of the manifest of a validation layer that knows what the mock driver does
FOVEATE_VISION          folder with timm and torchvision, which are not in the venv
FOVEATE_LONG=1          more and larger cases
"""

import collections
import glob
import os

import pytest
from alone import beside_others
from kept import keep
from oracle import layout_polar, pyramid, rate, rate_tiles, relevance, sample, warp

keep((layout_polar, "polar"), (pyramid, "pyramid"), (rate, "detail grown rate"), (rate_tiles, "rate_tiles"),
     (relevance, "gaze_table terms_of"), (sample, "sample"), (warp, "warp"))

BACKENDS = os.environ.get("FOVEATE_TEST_BACKENDS", "cpu,lavapipe,swiftshader,opengl,cuda").split(",")
DEVICES = {"lavapipe": "llvmpipe", "swiftshader": "SwiftShader"}
USUAL = {"lavapipe": "/usr/share/vulkan/icd.d/lvp_icd*.json",
         "swiftshader": "/usr/lib/chromium/vk_swiftshader_icd.json"}


def manifest(driver):
    """The driver's ICD file, or None."""
    named = os.environ.get(f"FOVEATE_ICD_{driver.upper()}")
    found = glob.glob(named or USUAL[driver])
    return found[0] if found else None


# The loader reads these once, when a process makes its first Vulkan instance: both drivers must be there.
_manifests = [m for m in map(manifest, [b for b in BACKENDS if b in DEVICES]) if m]
if _manifests:
    os.environ["VK_DRIVER_FILES"] = os.environ["VK_ICD_FILENAMES"] = os.pathsep.join(_manifests)
os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")


def built(library):
    """The newest of this name in the build folders, or None: not of a sanitizer, whose library Python has not."""
    tree = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = (path for path in glob.glob(f"{tree}/build/*/{library}") if path.split("/")[-2] not in ("asan", "tsan"))
    return max(found, key=os.path.getmtime, default=None)


# A CUDA driver over the host's memory, which runs the kernels as they are compiled for the host. Its device is that of
# a Vulkan driver. "auto" would take it for a GPU, and so it is there for those who name CUDA alone; no test looks for
# the machine's own.
STUB = {"FOVEATE_CUDA_LIBRARY": built("libfoveate_stub_cuda.so"),
        "FOVEATE_STUB_CUDA_KERNELS": built("libfoveate_kernels.so"),
        "FOVEATE_STUB_CUDA_DEVICES": "6d65736132322e332e36000000000000"}
for _name, _value in {**STUB, "FOVEATE_CUDA_LIBRARY": os.devnull}.items():
    if _value:
        os.environ.setdefault(_name, _value)


def options(name):
    """Engine options that select a backend by its name in FOVEATE_TEST_BACKENDS."""
    if name == "cuda" and not all(STUB.values()):
        pytest.fail("cuda: no stub driver in build/. Run `make setup`.")
    if name in ("cpu", "opengl", "cuda"):
        return {"backend": name}
    if name not in DEVICES:
        pytest.fail(f"FOVEATE_TEST_BACKENDS: got {name!r}, expected cpu, lavapipe, swiftshader, opengl or cuda.")
    if manifest(name) is None:
        pytest.fail(f"{name}: no driver manifest. Set FOVEATE_ICD_{name.upper()}, or "
                    "FOVEATE_TEST_BACKENDS=cpu to test the cpu backend alone.")
    return {"backend": "vulkan", "device": DEVICES[name]}


ISAS = {"baseline": (), "avx2": ("avx2",), "avx512": ("avx512_vbmi", "avx512_vnni", "avx512bw", "avx512vl", "avx512dq")}


def isas():
    """The instruction sets of the cpu backend that this machine has; FOVEATE_ISA names one."""
    with open("/proc/cpuinfo") as file:
        flags = next((set(line.split()) for line in file if line.startswith("flags")), set())
    return [name for name, needs in ISAS.items() if flags >= set(needs)]


@pytest.fixture(scope="session")
def make_engine():
    """make_engine(name, **options) -> Engine."""
    import foveate

    def make(name, **more):
        with pytest.MonkeyPatch.context() as patch:
            if name == "cuda":
                patch.setenv("FOVEATE_CUDA_LIBRARY", STUB["FOVEATE_CUDA_LIBRARY"])
            return foveate.Engine(**{**options(name), **more})

    return make


@pytest.fixture(autouse=True)
def cuda_for_its_tests(request, monkeypatch):
    """The driver is there for a test of the backend cuda."""
    here = "backend" in request.fixturenames and request.getfixturevalue("backend") == "cuda"
    if here and STUB["FOVEATE_CUDA_LIBRARY"]:
        monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", STUB["FOVEATE_CUDA_LIBRARY"])


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(scope="session")
def engines(make_engine):
    """Engine by backend, for as long as the process lives: drivers compile every pipeline anew for each."""
    made = {}
    yield made
    for engine in made.values():
        assert engine.stats["messages"] == 0, "the validation layer found something"
        engine.close()


@pytest.fixture(scope="session")
def engine(backend, engines, make_engine):
    if backend not in engines:
        engines[backend] = make_engine(backend)
    engine = engines[backend]
    name = engine.caps["device"]
    assert DEVICES.get(backend, "") in name, f"expected {DEVICES[backend]}, got {name}"
    yield engine
    assert engine.stats["messages"] == 0, "the validation layer found something"


@pytest.fixture(scope="session")
def cpu(make_engine):
    return make_engine("cpu")


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory):
    """A CUDA driver over the host's memory."""
    from child import compiled

    sources = [f"tests/stub_cuda/{name}.cpp" for name in ("stub", "texture", "work", "graphics")]
    return compiled(tmp_path_factory.mktemp("stub"), "libcuda_stub.so", sources, "-shared", "-fPIC", "-fno-gnu-unique")


@pytest.fixture
def stub_cuda(stub_library, monkeypatch):
    """stub_cuda(name, before="") -> UUID: it is the machine's driver, and its last device is this Vulkan driver's."""
    from foveate import _core

    def install(name, before=""):
        uuid = next(c["uuid"] for c in map(dict, _core.candidates()) if DEVICES[name] in c["device"])
        monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", str(stub_library))
        monkeypatch.setenv("FOVEATE_STUB_CUDA_DEVICES", before + uuid)
        return uuid

    return install


@pytest.fixture(params=[name for name in BACKENDS if name in DEVICES])
def cuda_driver(request):
    return request.param


@pytest.fixture
def cuda_uuid(cuda_driver, stub_cuda):
    return stub_cuda(cuda_driver, "0" * 32 + ",")


@pytest.fixture
def stub(stub_library, cuda_uuid):
    """The functions of the CUDA driver that is one of these: its second device is the Vulkan driver's."""
    from cuda_side import Stub

    return Stub(stub_library)


@pytest.fixture
def make_cuda(stub, cuda_driver):
    """What makes engines for CUDA on this driver."""
    import foveate

    engines = []

    def make(**more):
        engines.append(foveate.Engine(**options(cuda_driver), cuda=True, **more))
        return engines[-1]

    yield make
    for engine in engines:
        if engine._core:
            assert engine.stats["messages"] == 0, "the validation layer found something"
            engine.close()


@pytest.fixture
def kernel_stub(monkeypatch):
    """The functions of the CUDA driver that the backend cuda runs on in tests. It is the machine's."""
    from cuda_side import Stub

    assert "cuda" in BACKENDS, "FOVEATE_TEST_BACKENDS leaves out cuda: leave out this file as well"
    options("cuda")
    monkeypatch.setenv("FOVEATE_CUDA_LIBRARY", STUB["FOVEATE_CUDA_LIBRARY"])
    return Stub(STUB["FOVEATE_CUDA_LIBRARY"])


@pytest.fixture
def photo(tmp_path):
    """A file of noise, 128 x 96 px."""
    from images import random_image
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(random_image(1, 96, 128)).save(path)
    return path


# Few tests, and long ones.
SLOW = ("fork", "docs", "leak", "fault", "profile_tools", "canary", "cuda", "cuda_in", "cuda_source", "sync",
        "gpu_check", "cli", "share", "setup", "texture", "engine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Files that are handed out to several processes: first what no other test may run beside, while there is nothing
    to wait for; then the longest, or the last of them end alone.
    """
    if not hasattr(config, "workerinput"):
        return
    counts = collections.Counter(item.path for item in items)
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    items.sort(key=lambda item: (item.path not in alone, item.path.stem.removeprefix("test_") not in SLOW,
                                 -counts[item.path], item.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with beside_others(item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from the cpu backend")
