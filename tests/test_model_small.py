# SPDX-License-Identifier: Apache-2.0
"""model: the small model: its scenes, its words, its NumPy against the torch that learns, and what it answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import without
from foveate.error import InputError
from foveate.model.look import look
from foveate.model.small import infer, scenes, words
from foveate.model.small.reader import WEIGHTS, Reader
from foveate.model.small.shape import Shape

torch = pytest.importorskip("torch")
FOLDER = Path(scenes.__file__).parent


@pytest.fixture(scope="module")
def pages():
    rng = np.random.default_rng(11)
    return [scenes.scene(rng, seen=False, words=(1, 2), drawn=0) for _ in range(24)]


@pytest.fixture(scope="module")
def reader():
    return Reader()


def tokens_of(engine, page, **options):
    return engine.tokens(page.pixels, model="vit16", **options)


def test_a_scene_is_its_seed_and_its_things_lie_apart_and_inside(pages):
    again = scenes.scene(np.random.default_rng(11), seen=False, words=(1, 2), drawn=0)
    assert np.array_equal(again.pixels, pages[0].pixels) and again.things == pages[0].things
    for page in pages:
        assert page.pixels.shape == (1024, 1024, 3) and page.pixels.dtype == np.uint8
        places = [thing.place for thing in page.things]
        assert len(set(places)) == len(places)
        for thing in page.things:
            x0, y0, x1, y1 = thing.box
            row, column = divmod(thing.place, 3)
            assert 0 <= x0 < x1 <= 1024 and 0 <= y0 < y1 <= 1024
            assert column == int((x0 + x1) / 2 * 3 / 1024) and row == int((y0 + y1) / 2 * 3 / 1024)
            inside = page.pixels[y0:y1, x0:x1].astype(int)
            assert np.median(page.pixels) - inside.min() > 60       # there is ink


def test_questions_have_one_answer():
    box = (0, 0, 9, 9)
    things = [scenes.Thing(*given, box) for given in (("digit", "7", 0), ("digit", "7", 4), ("digit", "3", 8),
                                                      ("word", "owl", 2))]
    assert [asked[:2] for asked in scenes.questions(things)] == [
        ("how many digits", "3"), ("which digit is at the top left", "7"), ("which digit is at the middle", "7"),
        ("which digit is at the bottom right", "3"), ("where is the 3", "bottom right"),
        ("read the word at the top right", "owl"), ("read the word", "owl")]


def test_what_is_asked_of_it_was_never_trained_on():
    seen, unseen = ([digits.tobytes() for of_kind in scenes._digits()[which] for digits in of_kind]
                    for which in (True, False))
    assert not set(seen) & set(unseen) and len(unseen) > 500
    assert not set(scenes.WORDS) & set(scenes.UNSEEN)


def test_words_and_answers_come_back():
    for answer in (*scenes.PLACES, *"0123456789", *scenes.WORDS, *scenes.UNSEEN):
        assert words.decode_answer(words.encode_answer(answer)) == answer
    assert words.decode_answer([words.INDEX["o"], words.INDEX["x"]]) == "ox"
    assert words.decode_answer([words.INDEX[words.END], words.INDEX["x"]]) == ""


def made_up(rows, seed=0):
    """A network nobody trained, and tokens of no image."""
    from foveate.model.small.net import Net

    torch.manual_seed(seed)
    net = Net().eval()
    weights = infer.Weights({name: value.numpy() for name, value in net.state_dict().items()}, Shape())
    rng = np.random.default_rng(seed)
    tokens = (rng.normal(0, 1, (rows, 768)).astype(np.float32), rng.uniform(0, 1024, (rows, 2)).astype(np.float32),
              2.0**rng.integers(4, 8, (rows, 2)).astype(np.float32), rng.random(rows) > 0.2)
    return net, weights, tokens


@pytest.mark.parametrize("rows", [3, 600])      # over infer.ROWS too
def test_numpy_says_what_torch_learned(rows):
    net, weights, tokens = made_up(rows)
    text = [words.INDEX[word] for word in ("how", "many", "digits", words.SAY)]
    seen = infer.encode(weights, *tokens)
    scores, looked = infer.decode(weights, text, seen, tokens[3])
    with torch.inference_mode():
        other = net.encode(*(torch.from_numpy(part)[None] for part in tokens))
        answer, attention = net.decode(torch.tensor(text)[None, None], other, torch.from_numpy(tokens[3])[None], True)
    assert np.abs(seen - other[0].numpy()).max() < 2e-4
    assert np.abs(scores - answer[0, 0].numpy()).max() < 2e-4
    assert np.abs(looked - attention[0, 0].numpy()).max() < 2e-5
    assert np.abs(looked.sum(-1) - 1).max() < 1e-5 and (looked[:, ~tokens[3]] == 0).all()


def test_the_order_of_tokens_is_nothing_to_it():
    _, weights, tokens = made_up(40)
    turned = np.random.default_rng(1).permutation(40)
    there = infer.encode(weights, *(part[turned] for part in tokens))
    assert np.abs(infer.encode(weights, *tokens)[turned] - there).max() < 1e-4


def test_what_is_not_valid_is_not_seen():
    _, weights, (patches, center, size, valid) = made_up(40)
    other = np.where(valid[:, None], patches, 9.0)
    first, second = (infer.encode(weights, part, center, size, valid)[valid] for part in (patches, other))
    assert np.array_equal(first, second)


def test_its_file_is_small_and_has_its_log():
    assert WEIGHTS.stat().st_size < 2_000_000
    lines = [json.loads(line) for line in (FOLDER / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["seconds"] < 30 * 60 and {"answer", "look", "count", "digit", "place", "word"} <= lines[-1].keys()


def right(answers, pages, kind):
    """Share of right answers to one question a page, of those of a kind."""
    found = [answers(page, question) == answer for page in pages for question, answer, _ in page.asked
             if question.startswith(kind)][:40]
    return sum(found) / len(found)


def box_of(page, question):
    return next(box for asked, _, box in page.asked if asked == question)


def told_where(engine, reader, budget):
    def answers(page, question):
        x0, y0, x1, y1 = box_of(page, question) or (0, 0, 1024, 1024)
        gaze = (x0 + x1) / 2048, (y0 + y1) / 2048
        return reader(tokens_of(engine, page, gaze=gaze, budget=budget), question).text
    return answers


def test_it_answers_about_pages_it_never_saw(cpu, reader, pages):
    answers = told_where(cpu, reader, 144)
    assert right(answers, pages, "which") >= 0.8
    assert right(answers, pages, "read") >= 0.5
    everywhere = lambda page, question: reader(tokens_of(cpu, page, budget=208), question).text     # noqa: E731
    assert right(everywhere, pages, "how") >= 0.4         # of six: chance is 0.17
    assert right(everywhere, pages, "where") >= 0.6


def test_words_are_read_close_by_and_not_from_afar(cpu, reader, pages):
    afar = right(lambda page, question: reader(tokens_of(cpu, page, layout="grid", budget=128), question).text, pages,
                 "read")
    assert right(told_where(cpu, reader, 128), pages, "read") >= afar + 0.3


def test_it_looks_where_the_answer_is(cpu, reader, pages):
    hits = []
    for page in pages:
        for question, _, box in page.asked:
            if question.startswith("read the word at"):
                found = look(reader, page.pixels, question, budget=208, fixations=1, engine=cpu, model="vit16")
                x, y = (value * 1024 for value in found.points[0])
                hits.append(box[0] - 64 <= x <= box[2] + 64 and box[1] - 64 <= y <= box[3] + 64)
    assert np.mean(hits) >= 0.7


def test_an_answer_tells_what_it_drew_on(cpu, reader, pages):
    tokens = tokens_of(cpu, pages[0], budget=100)
    answer = reader(tokens, "how many digits")
    assert answer.attention.shape == answer.doubt.shape == (100,)
    assert abs(answer.attention.sum() - 1) < 1e-3 and (answer.doubt >= 0).all()
    assert 0 < answer.confidence <= 1 and max(answer.scores, key=answer.scores.get) == answer.text
    assert sum(answer.scores.values()) <= 1 + 1e-5


@pytest.mark.parametrize(("question", "message"), [
    ("who wrote this", "model: question: got who wrote this, expected words of at, bottom, "),
    ("", "model: question: got no word, expected words of "),
    ("which digit is at the" + 7 * " top", "model: question: got 12 words, expected at most 11")])
def test_other_questions_are_refused(cpu, reader, pages, question, message):
    with pytest.raises(InputError) as caught:
        reader(tokens_of(cpu, pages[0], budget=16), question)
    assert str(caught.value).startswith(message)


def test_other_tokens_are_refused(cpu, reader, pages):
    for options, message in (({"model": "qwen2-vl"}, "model: Reader: preset: got qwen2-vl, expected model="),
                             ({"model": "vit16", "patch": 8}, "model: Reader: preset: got vit16")):
        with pytest.raises(InputError, match=message):
            reader(cpu.tokens(pages[0].pixels, budget=16, **options), "how many digits")
    with pytest.raises(InputError, match="model: Reader: got 2 images, expected one"):
        reader(cpu.tokens([pages[0].pixels] * 2, budget=16, model="vit16"), "how many digits")


def test_other_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("no weights at all, though more than eight bytes")
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "other")
    for name in ("text", "other", "none"):
        with pytest.raises(InputError, match=r"^model: weights: got .*, expected .*foveate\.model\.small\.train"):
            Reader(tmp_path / name)


def test_it_reads_without_torch(tmp_path):
    said = without.run(tmp_path, ["torch", "safetensors", "transformers"], """
import numpy as np, foveate
from foveate.model.small.reader import Reader
from foveate.model.small.scenes import scene
page = scene(np.random.default_rng(3), digits=(2, 2))
print(Reader()(foveate.Engine(backend="cpu").tokens(page.pixels, budget=208, model="vit16"), "how many digits").text)
assert "torch" not in sys.modules
""")
    assert said.strip().isdigit()
