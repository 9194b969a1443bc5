# SPDX-License-Identifier: Apache-2.0
"""What the models answer: the engine's own results, and Triton's words where a request does not fit."""

import asyncio

import numpy as np
import pytest
from foveate import Engine, decode
from foveate.rate_tiles import rate_tiles
from foveate.serve.fault import Fault
from foveate.serve.limits import Limits
from foveate.serve.models import MODELS
from foveate.serve.models.patchify import resized
from foveate.serve.protocol import Request, Tensor, Wanted
from serving import jpeg, served

PIXELS = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
GAZE = np.array([[0.25, 0.75]], np.float32)


def request(served_by="foveate", /, image=PIXELS, gaze=None, outputs=None, **parameters):
    inputs = {}
    if isinstance(image, np.ndarray):
        inputs["image"] = Tensor("image", "UINT8", image.shape, image)
    elif image is not None:
        inputs["image"] = Tensor("image", "BYTES", (len(image),), list(image))
    if gaze is not None:
        inputs["gaze"] = Tensor("gaze", "FP32", gaze.shape, gaze)
    wanted = outputs and [Wanted(name) for name in outputs]
    return Request(served_by, parameters=parameters, inputs=inputs, outputs=wanted)


def ask(*requests, **options):
    """The tensors of each request by name, all asked at once."""
    async def test(service):
        found = await asyncio.gather(*map(service.infer, requests))
        return [{tensor.name: tensor for tensor in one.outputs} for one in found]

    return served(test, **options)


def refused(*requests, **options):
    """The fault of each."""
    async def test(service):
        return await asyncio.gather(*map(service.infer, requests), return_exceptions=True)

    found = served(test, **options)
    assert all(isinstance(one, Fault) for one in found), found
    return found


# ---- literals ----------------------------------------------------------------------------------------------


def test_tokens_of_a_constant_image():
    made, = ask(request(image=np.full((32, 32, 3), 128, np.uint8), budget=4, layout="grid"))
    assert {name: (one.datatype, one.shape) for name, one in made.items()} == {
        "patches": ("FP32", (4, 768)), "center_px": ("FP32", (1, 4, 2)), "size_px": ("FP32", (1, 4, 2)),
        "rate": ("INT32", (1, 4)), "level": ("INT32", (1, 4)), "valid": ("BOOL", (1, 4)),
        "image_size": ("INT32", (1, 2))}
    assert np.unique(made["patches"].data).tolist() == [np.float32(128 / 255)]
    assert made["center_px"].data[0].tolist() == [[8, 8], [24, 8], [8, 24], [24, 24]]
    assert made["image_size"].data.tolist() == [[32, 32]]


def test_a_rate_image_by_eye():
    made, = ask(request("shading_rate", image=None, gaze=np.array([[[0.1, 0.5]]], np.float32), height=48, width=80))
    assert made["shading_rate"].data[1].tolist() == [0, 0, 5, 6, 10]
    assert made["fraction"].data.tolist() == [np.float32(0.4875)]


# ---- the engine's own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"model": "qwen2.5-vl"}, {"model": "siglip2", "dtype": "float16"},
                                     {"layout": "rings"}, {"layout": "logpolar", "alpha": 0.2},
                                     {"rates": "square", "max_rate": 4, "order": "level"}], ids=str)
def test_foveate_is_the_engine(cpu, options):
    two = np.stack([PIXELS, PIXELS[::-1]])
    gaze = np.array([[0.2, 0.3], [0.9, 0.1]], np.float32)
    made, = ask(request(image=two, gaze=gaze, budget=180, **options))
    layout = {"layout": "rate", **options}
    tokens = cpu.tokens(two, gaze=[[tuple(map(float, one))] for one in gaze], budget=180, **layout)
    assert made["patches"].data.tobytes() == tokens.numpy().tobytes()
    assert made["patches"].shape == (tokens.table.size * tokens.preset.merge**2,
                                     tokens.numpy().size // (tokens.table.size * tokens.preset.merge**2))
    for name in ("center_px", "size_px", "rate", "level", "valid"):
        assert np.array_equal(made[name].data, getattr(tokens, name))


def test_terms_of_relevance_reach_the_engine(cpu):
    made, = ask(request(gaze=GAZE, budget=40, saliency="both", information=True, combine="max", floor=0.1))
    terms = {"saliency": "both", "information": True, "combine": "max", "floor": 0.1}
    tokens = cpu.tokens(PIXELS, gaze=[[(0.25, 0.75)]], budget=40, relevance=terms, layout="rate")
    assert made["patches"].data.tobytes() == tokens.numpy().tobytes()


def test_bfloat16_are_the_bits(cpu):
    made, = ask(request(budget=40, dtype="bfloat16"))
    bits = cpu.tokens(PIXELS, budget=40, dtype="float32").numpy().view(np.uint32)
    rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    assert made["patches"].datatype == "BF16" and made["patches"].data.tobytes() == rounded.astype(np.uint16).tobytes()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_files_are_decoded(form):
    data = jpeg(form=form)
    made, same = ask(request(image=[data]), request(image=decode.decode(data)))
    assert made["patches"].data.tobytes() == same["patches"].data.tobytes()


def test_outputs_are_those_that_were_asked_for():
    made, = ask(request(outputs=["valid", "patches"]))
    assert list(made) == ["valid", "patches"]


def test_several_images_of_several_sizes(cpu):
    files = [jpeg(size=size) for size in ((64, 64), (96, 48), (8, 200))]
    made, = ask(request(image=files, budget=32))
    tokens = cpu.tokens([decode.decode(one) for one in files], budget=32, layout="rate")
    assert made["patches"].data.tobytes() == tokens.numpy().tobytes()
    assert made["image_size"].data.tolist() == [[64, 64], [96, 48], [8, 200]]


@pytest.mark.parametrize("model", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"])
def test_patchify_is_the_stock_processor(model):
    from foveate.model import processor

    kinds = {"qwen2-vl": "qwen2_vl", "qwen2.5-vl": "qwen2_5_vl", "qwen3-vl": "qwen3_vl"}
    stock = processor.CLASSES[kinds[model]]()
    rng = np.random.default_rng(2)
    sizes = [(1080, 1920), (33, 41), (700, 20), (512, 513), (1500, 1500)]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    for image, made in zip(images, ask(*(request("patchify", image, model=model) for image in images)), strict=True):
        theirs = stock(image, return_tensors="np")
        assert made["pixel_values"].data.tobytes() == theirs["pixel_values"].tobytes()
        assert np.array_equal(made["image_grid_thw"].data, theirs["image_grid_thw"])
    first, = ask(request("patchify", images[0], model=model, min_pixels=100_000, max_pixels=200_000))
    theirs = stock(images[0], size={"shortest_edge": 100_000, "longest_edge": 200_000}, return_tensors="np")
    assert first["pixel_values"].data.tobytes() == theirs["pixel_values"].tobytes()


def test_resized_is_theirs():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    rng = np.random.default_rng(3)
    for height, width in rng.integers(1, 3000, (300, 2)).tolist():
        if max(height, width) <= 200 * min(height, width):
            assert resized(height, width, 28, 3136, 1003520) == smart_resize(height, width, 28, 3136, 1003520)


def test_patchify_is_a_grid(cpu):
    made, = ask(request("patchify", budget=48, model="vit16", dtype="float16"))
    tokens = cpu.tokens(PIXELS, budget=48, model="vit16", layout="grid", dtype="float16")
    assert made["pixel_values"].data.tobytes() == tokens.numpy().tobytes()
    assert made["image_grid_thw"].data.tolist() == [[1, 1, 48]]


@pytest.mark.parametrize("api", ["vulkan", "d3d12", "nv"])
def test_shading_rate_is_the_engine(cpu, api):
    gaze = np.array([[[0.25, 0.5], [0.75, 0.5]]], np.float32)
    made, = ask(request("shading_rate", gaze=gaze, tile=8, content="ffx", api=api, terms="min"))
    rates = rate_tiles(PIXELS, gaze=[[(0.25, 0.5), (0.75, 0.5)]], tile=8, content="ffx", terms="min", engine=cpu)
    assert np.array_equal(made["shading_rate"].data, rates.encode(api))


def test_warp_and_back(cpu):
    made, = ask(request("warp", gaze=GAZE, height=32, width=64))
    assert np.array_equal(made["warped"].data, cpu.warp(PIXELS, size=(32, 64), gaze=(0.25, 0.75)).numpy())
    back, = ask(request("warp", made["warped"].data, GAZE, height=96, width=128, inverse=True))
    there = cpu.warp(made["warped"].data[0], size=(96, 128), gaze=(0.25, 0.75), inverse=True)
    assert np.array_equal(back["warped"].data, there.numpy())


# ---- errors ------------------------------------------------------------------------------------------------


def tensor(name, datatype, array):
    return Tensor(name, datatype, array.shape, array)


WRONG = {
    "unknown model": (Request("nope"), 404, "Request for unknown model: 'nope' is not found"),
    "no name": (Request("../../x"), 404, "Request for unknown model: '?' is not found"),
    "unknown version": (Request("foveate", "7"), 404, "Request for unknown model: 'foveate' version 7 is not found"),
    "missing": (request(image=None), 400,
                "[request id: <id_unknown>] expected number of inputs between 1 and 2 but got 0 inputs for model "
                "'foveate'. Got input(s) [], but missing required input(s) ['image']. Please provide all required "
                "input(s)"),
    "extra": (Request("foveate", inputs={"zz": tensor("zz", "FP32", GAZE)}), 400,
              "unexpected inference input 'zz' for model 'foveate'"),
    "type": (Request("foveate", inputs={"image": tensor("image", "FP32", GAZE)}), 400,
             "[request id: <id_unknown>] inference input 'image' data-type is 'FP32', but model 'foveate' expects "
             "'BYTES'"),
    "output": (request(outputs=["nope"]), 400, "unexpected inference output 'nope' for model 'foveate'"),
    "shape": (request(image=np.zeros((4, 4), np.uint8)), 400,
              "[request id: <id_unknown>] unexpected shape for input 'image' for model 'foveate'. Expected "
              "[-1,-1,-1,3], got [4,4]"),
    "gray": (request(image=np.zeros((1, 4, 4, 1), np.uint8)), 400, None),
    "none": (request(image=np.zeros((0, 4, 4, 3), np.uint8)), 400, None),
    "no file": (request(image=[]), 400, None),
    "gazes": (request(gaze=np.zeros((2, 2), np.float32)), 400,
              "[request id: <id_unknown>] unexpected shape for input 'gaze' for model 'foveate'. Expected [1,2], "
              "got [2,2]"),
    "nan": (request(gaze=np.array([[np.nan, 0]], np.float32)), 400,
            "inference input 'gaze' has a value that is not finite, or outside of the image"),
    "outside": (request(gaze=np.array([[1.5, 0]], np.float32)), 400, None),
    "outside px": (request(gaze=np.array([[129, 0]], np.float32), unit="px"), 400, None),
    "parameter": (request(colour="red"), 400, "unexpected inference parameter 'colour' for model 'foveate'"),
    "budget": (request(budget=0), 400, "inference parameter 'budget' for model 'foveate': expected a whole number, "
                                       "1..4096"),
    "budget's type": (request(budget=10.0), 400, None),
    "a flag": (request(information=1), 400, None),
    "preset": (request(model="gpt"), 400, None),
    "terms": (request(layout="grid", saliency="both"), 400, None),
    "what the engine refuses": (request(layout="grid", alpha=1.0), 400, 'layout: alpha: got kind="grid", expected '
                                                                        'kind="logpolar".'),
    "empty": (request(image=[b""]), 400, "image 0 cannot be decoded: there is nothing in it"),
    "gif": (request(image=[b"GIF89a"]), 415, "image 0 is not a JPEG, PNG or WebP image"),
    "cut": (request(image=[jpeg()[:300]]), 400, None),
    "second": (request(image=[jpeg(), b"\x89PNG\r\n\x1a\n"]), 400, "image 1 cannot be decoded: its header is damaged"),
    "patchify gaze": (request("patchify", gaze=GAZE), 400, "unexpected inference input 'gaze' for model 'patchify'"),
    "patchify range": (request("patchify", model="qwen2-vl", min_pixels=5000, max_pixels=4000), 400, None),
    "patchify dtype": (request("patchify", model="qwen2-vl", dtype="float16"), 400, None),
    "patchify pixels": (request("patchify", model="vit16", max_pixels=4000), 400, None),
    "patchify shape": (request("patchify", np.zeros((1, 201, 3), np.uint8), model="qwen2-vl"), 400, None),
    "no size": (request("warp", width=5), 400,
                "inference parameter 'height' for model 'warp': expected it to be there"),
    "two gazes": (request("warp", gaze=np.zeros((1, 2, 2), np.float32), height=5, width=5), 400,
                  "too many gaze points: at most 1 an image"),
    "no term": (request("shading_rate"), 400, None),
    "no image": (request("shading_rate", image=None, gaze=GAZE, content="ffx", height=5, width=5), 400, None),
    "no place": (request("shading_rate", image=None, gaze=GAZE), 400, None),
}


def test_what_does_not_fit_is_said():
    for (name, (_, status, text)), fault in zip(WRONG.items(), refused(*(one for one, _, _ in WRONG.values())),
                                                strict=True):
        assert fault.status == status, (name, fault.text)
        assert text in (None, fault.text), (name, fault.text)


def test_limits_of_a_request():
    small = Limits(images=2, fixations=3, tokens=40, pixels=96 * 128, encoded=len(jpeg()))
    good = [request(image=np.stack([PIXELS] * 2), budget=40), request(gaze=np.full((1, 3, 2), 0.5, np.float32),
                                                                       budget=39), request(image=[jpeg()], budget=1)]
    assert len(ask(*good, limits=small)) == 3
    over = [(request(image=np.stack([PIXELS] * 3)), "too many images: at most 2 a request"),
            (request(gaze=np.full((1, 4, 2), 0.5, np.float32)), "too many gaze points: at most 3 an image"),
            (request(budget=41), "inference parameter 'budget' for model 'foveate': expected a whole number, 1..40"),
            (request(image=np.zeros((97, 128, 3), np.uint8)), "image 0 is too large: at most 12288 pixels"),
            (request(image=[jpeg(size=(104, 128))]), "image 0 is too large"),
            (request(image=[jpeg() + b"\0"]), f"image 0 is too large: at most {len(jpeg())} bytes")]
    for (_, text), fault in zip(over, refused(*(one for one, _ in over), limits=small), strict=True):
        assert fault.text.startswith(text)


def test_limit_of_an_answer():
    values = 40 * 3 * 16 * 16
    assert ask(request(budget=40), limits=Limits(values=values))
    for limit in (values - 1,):
        fault, = refused(request(budget=40), limits=Limits(values=limit))
        assert fault.text == f"answer is too large: at most {limit} numbers"


def test_bombs_cost_nothing():
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16000, 16000, 8, 2, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    assert {fault.code for fault in refused(*[request(image=[bomb])] * 50)} == {"pixels"}


def test_metadata_of_every_model():
    async def test(service):
        for name, module in MODELS.items():
            said, config = service.model_metadata(name), service.model_config(name)
            assert [port["name"] for port in said["inputs"]] == [port.name for port in module.INPUTS]
            assert [port["name"] for port in said["outputs"]] == [port.name for port in module.OUTPUTS]
            assert (config["max_batch_size"] > 0) == ("dynamic_batching" in config) == module.BATCHES
            assert set(config["parameters"]) == set(module.parameters(service.limits))
        return service.model_config("foveate")

    config = served(test)
    assert config["input"][0] == {"name": "image", "data_type": "TYPE_STRING", "dims": [1], "is_shape_tensor": False,
                                  "format": "FORMAT_NONE", "allow_ragged_batch": False, "optional": False}
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0


def test_every_backend_serves(backend, make_engine):
    import conftest

    async def test(service):
        return await service.infer(request(gaze=GAZE, budget=48, model="qwen2.5-vl", outputs=["patches"]))

    from foveate.serve.service import Service

    async def main():
        with pytest.MonkeyPatch.context() as patch:
            if backend == "cuda":
                patch.setenv("FOVEATE_CUDA_LIBRARY", conftest.STUB["FOVEATE_CUDA_LIBRARY"])
            service = Service(conftest.options(backend))
            await service.start()
            try:
                return await test(service)
            finally:
                await service.close()

    made = asyncio.run(main())
    tokens = Engine(backend="cpu").tokens(PIXELS, gaze=(0.25, 0.75), budget=48, model="qwen2.5-vl", layout="rate")
    assert made.outputs[0].data.tobytes() == tokens.numpy().tobytes()


@pytest.mark.parametrize("kind", ["vit", "siglip2"])
def test_embed_is_the_encoder(tmp_path, cpu, kind):
    from foveate.model.encoder import load_encoder
    from foveate.serve.models.embed import embed_of
    from tiny_models import encoder

    encoder(kind).save_pretrained(tmp_path)
    made, other = ask(request("embed", gaze=GAZE, budget=20, saliency="both"), request("embed", budget=20),
                      embed=embed_of(tmp_path))
    rows, pooled = load_encoder(tmp_path)(PIXELS, engine=cpu, gaze=[[(0.25, 0.75)]], budget=20,
                                          relevance={"saliency": "both"}, layout="rate")
    assert np.array_equal(made["embeddings"].data, rows) and made["embeddings"].shape == (1, 20, 48)
    assert pooled is None or np.array_equal(made["pooled"].data, pooled)
    assert not np.array_equal(other["embeddings"].data, rows)
    faults = refused(request("embed", model="vit16"), request("embed", image=np.stack([PIXELS] * 3)),
                     embed=embed_of(tmp_path), limits=Limits(values=273 * 48 * 2))
    assert [fault.code for fault in faults] == ["unknown_parameter", "values"]
    assert refused(request("embed"))[0].text == "Request for unknown model: 'embed' is not found"
