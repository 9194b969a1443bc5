# SPDX-License-Identifier: Apache-2.0
"""model: image processors in files, copies, processes and worlds; and what a checkpoint may be."""

import copy
import json
import pickle

import foveate
import numpy as np
import pytest
import without
from child import child
from foveate.error import InputError
from foveate.model import load_processor, processor
from images import random_image
from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Stock
from vision import run as run_with_vision

Ours, Ours25, Ours3 = processor.CLASSES.values()


# Files, copies, processes

def saved(folder, cls=Ours, config=None, **options):
    cls(**options).save_pretrained(folder)
    if config is not None:
        config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind, cls", processor.CLASSES.items())
def test_saved_and_loaded(tmp_path, kind, cls):
    made = cls(budget=77, gaze=[0.25, 0.5], relevance={"saliency": "both"}, max_pixels=90000, threads=2)
    made.save_pretrained(tmp_path)
    for again in (cls.from_pretrained(tmp_path), load_processor(tmp_path), load_processor(str(tmp_path)),
                  copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert type(again) is cls and again.to_dict() == made.to_dict()
    assert (again.budget, again.threads, again.size["longest_edge"]) == (77, 2, 90000)
    other = load_processor(tmp_path, budget=5, do_normalize=False, local_files_only=True)
    assert (other.budget, other.do_normalize, other.relevance) == (5, False, {"saliency": "both"})


def test_an_engine_is_not_saved(tmp_path, cpu):
    made = Ours(budget=5, engine=cpu)
    assert made.engine is cpu and "engine" not in made.to_dict()
    assert made(random_image(1, 60, 60))["pixel_values"].shape == (20, 1176)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), Ours.from_pretrained(saved(tmp_path))):
        assert getattr(again, "engine", None) is None


def test_a_stock_checkpoint(tmp_path):
    Stock(max_pixels=123456).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert config["image_processor_type"] == "Qwen2VLImageProcessor"
    assert type(load_processor(tmp_path)) is Ours
    image = random_image(1, 500, 400)
    expected = Stock(max_pixels=123456)(image)
    assert np.array_equal(load_processor(tmp_path)(image)["pixel_values"], expected["pixel_values"])
    Qwen2VLConfig(vision_config={"patch_size": 14}).save_pretrained(tmp_path)
    assert type(load_processor(tmp_path)) is Ours
    config = json.loads((tmp_path / "config.json").read_text())
    for kind, cls in (("qwen2_5_vl", Ours25), ("qwen3_vl", Ours3), ("qwen3_vl_moe", Ours3), ("something_else", Ours)):
        (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": kind}))
        assert type(load_processor(tmp_path)) is cls


# Worlds

FORK = """
import os, signal, threading
image, ours = random_image(1, 300, 400), plain
golden = ours(image)["pixel_values"].copy()
def same(): assert np.array_equal(ours(image)["pixel_values"], golden); done.append(1)
done = []
some = [threading.Thread(target=lambda: [same() for _ in range(5)]) for _ in range(4)]
for one in some: one.start()
for one in some: one.join()
assert len(done) == 20
process = os.fork()
if process == 0:
    signal.alarm(20)
    held = ours(image)["pixel_values"]
    same()
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
same()
print("done")
"""
SAVED = """
import numpy as np
from images import random_image
from transformers import AutoImageProcessor
from foveate.model import load_processor, register_processors
from foveate.model.processor import stock
image = random_image(1, 100, 120)
plain = load_processor(STOCK)
expected = stock.Qwen2VLImageProcessorPil.from_pretrained(STOCK)(image)
assert np.array_equal(plain(image)["pixel_values"], expected["pixel_values"])
register_processors()
register_processors()
def kind(folder, **options): return type(AutoImageProcessor.from_pretrained(folder, **options)).__name__
kinds = kind(STOCK, backend="foveated"), kind(OURS, backend="foveated"), kind(OURS)
"""
OURS_25 = "FoveatedQwen2_5_VLImageProcessor"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    theirs, ours = tmp_path_factory.mktemp("stock"), tmp_path_factory.mktemp("ours")
    Stock().save_pretrained(theirs)
    Qwen2_5_VLConfig().save_pretrained(theirs)
    return str(theirs), str(saved(ours, Ours25, Qwen2_5_VLConfig(), budget=9))


def test_auto_without_torchvision(folders):
    world = dict(zip(("STOCK", "OURS"), folders, strict=True))
    exec(SAVED, world)
    assert world["kinds"] == ("Qwen2VLImageProcessorPil", OURS_25, "Qwen2VLImageProcessorPil")


TEXT = """
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor
import foveate
from foveate.model.batch import tokens_of
words = ["<unk>", "<|image_pad|>", "<|video_pad|>", "what", "is", "this"]
core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<unk>",
                                    additional_special_tokens=words[1:3])
processor = Qwen2_5_VLProcessor(load_processor(OURS, budget=9, engine=foveate.Engine(backend="cpu")), tokenizer,
                                Qwen2VLVideoProcessor())
made = processor(images=[random_image(1, 200, 300), random_image(2, 100, 100)],
                 text=["what <|image_pad|> is <|image_pad|> this"], return_tensors="pt",
                 images_kwargs={"gaze": [0.3, 0.3], "budget": 7})
print(int((made["input_ids"] == 1).sum()), tokens_of(made).valid.shape, made["pixel_values"].shape[0])
"""


def test_with_torchvision_and_a_text_processor(folders):
    script = f"STOCK, OURS = {folders}\n" + SAVED + "print(*kinds)\n" + TEXT
    # of the classes registered transformers takes the first whose stock class is the checkpoint's
    assert run_with_vision(script).splitlines() == [
        f"FoveatedQwen2VLImageProcessor {OURS_25} Qwen2VLImageProcessor", "14 (2, 7) 56"]


def test_without_torch(tmp_path, folders):
    assert without.run(tmp_path, ("torch", "functorch", "torchgen", "torchvision"), """
import numpy as np
from foveate.error import UnsupportedError
from foveate.model import load_processor
from foveate.model.batch import tokens_of
from images import random_image
import foveate
plain, foveated = load_processor(sys.argv[1]), load_processor(sys.argv[2], engine=foveate.Engine(backend="cpu"))
image = random_image(1, 100, 120)
assert plain(image, return_tensors="np")["pixel_values"].shape[1] == 1176
assert foveated(image, return_tensors="np")["pixel_values"].shape == (36, 1176)
assert tokens_of(foveated(image)).numpy().shape == (36, 1176)
for one in (plain, foveated):
    try:
        one(image, return_tensors="pt")
    except UnsupportedError as error:
        print(error)
assert "torch" not in sys.modules
""" + FORK, *folders).splitlines() == [
        "model: torch: got none, expected 2.4 or newer. Run: pip install 'foveate[torch]'"] * 2 + ["done"]


# Errors

def test_checkpoints_of_others(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"}))
    with pytest.raises(InputError, match=r"^model: processor: got CLIPImageProcessor of no model, expected that of "
                                         r"qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_vl_moe\."):
        load_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"^model: processor: got no type of no model"):
        load_processor(tmp_path)
    with pytest.raises(OSError):
        load_processor(tmp_path / "nowhere")


def test_a_processor_that_is_not_its_models(tmp_path):
    saved(tmp_path, Ours, Qwen3VLConfig())
    with pytest.raises(InputError, match=r"^model: processor: got patch 14, merge 2, expected patch 16, merge 2, as "
                                         r"the model has\. Leave patch_size and merge_size out, or correct"):
        load_processor(tmp_path)
    assert load_processor(tmp_path, patch_size=16).patch_size == 16


def test_no_such_option(tmp_path):
    with pytest.raises(InputError, match=r"^model: processor options: got buget, expected options of the processor"):
        load_processor(saved(tmp_path), buget=5)


def test_transformers_too_old():
    code = "import importlib.metadata as m; m.version = lambda name: '5.17.0'\nimport foveate.model.processor"
    with pytest.raises(AssertionError, match=r"model: transformers: got 5.17.0, expected 5.18 or newer"):
        child(None, code)


def test_names_are_found_when_asked_for():
    assert {"load_processor", "FoveatedQwen3VLImageProcessor"} <= set(dir(foveate.model))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        foveate.model.nothing  # noqa: B018
