# SPDX-License-Identifier: Apache-2.0
"""model: looking more than once, with a model that is a few lines of NumPy."""

import foveate
import numpy as np
import pytest
from foveate.error import InputError
from foveate.gaze import Chosen, Constant
from foveate.model.join import join
from foveate.model.look import CHOOSE, INTEGRATE, Answer, coarseness, heat_of, look

SPOTS = {(0.2, 0.3): 120, (0.75, 0.6): 60}     # uv: how bright


@pytest.fixture(scope="module")
def page():
    """Black, with two gray squares of 48 px, one brighter than the other."""
    image = np.zeros((480, 640, 3), np.uint8)
    for (x, y), light in SPOTS.items():
        left, top = round(x * 640) - 24, round(y * 480) - 24
        image[top:top + 48, left:left + 48] = light
    return image


def light_of(tokens):
    """(K,): how bright each token is on the whole."""
    patches = tokens.numpy().reshape(tokens.valid.shape[1], -1)
    return (patches.mean(1) + 1) / 2 * tokens.size_px[0].prod(1)


def ask(tokens, question):
    """Looks at what is bright; sure of it where the finest token is."""
    light = light_of(tokens)
    fine = np.sqrt(tokens.size_px[0].prod(1)) <= tokens.preset.cell
    seen = float(light[fine].sum() / max(light.sum(), 1))
    return Answer(f"{question} {seen:.2f}", seen, attention=light, doubt=light * ~fine,
                  scores={"yes": seen, "no": 1 - seen})


def near(point, spot):
    return np.hypot((point[0] - spot[0]) * 4 / 3, point[1] - spot[1]) < 0.08


def options(**more):
    # a uniform glance: rates would find the spots on their own
    return {"budget": 120, "fixations": 2, "model": "vit16", "glance": {"layout": "grid"}, **more}


@pytest.mark.parametrize("choose", CHOOSE)
def test_it_looks_where_there_is_something(cpu, page, choose):
    found = look(ask, page, "?", choose=choose, engine=cpu, **options())
    bright, dim = SPOTS
    assert sorted(found.points) == found.points
    assert near(found.points[0], bright) and near(found.points[1], dim)


@pytest.mark.parametrize("integrate", INTEGRATE)
@pytest.mark.parametrize("fixations", [0, 1, 3])
def test_one_budget_for_all_looks(cpu, page, integrate, fixations):
    asked = []

    def counted(tokens, question):
        asked.append(tokens)
        return ask(tokens, question)

    found = look(counted, page, "?", integrate=integrate, engine=cpu, **options(fixations=fixations))
    assert len(found.points) == fixations
    assert len(found.answers) == len(asked) == (2 if integrate == "layout" and fixations else 1 + fixations)
    assert found.encoded == sum(tokens.valid.shape[1] for tokens in asked)
    assert found.tokens is asked[-1]
    last = asked[-1].valid.shape[1]
    if integrate == "concat" or fixations == 0:
        assert last == 120
    elif integrate == "layout":
        assert asked[0].valid.shape[1] + last == 120
    else:
        close = last - asked[0].valid.shape[1]
        assert asked[0].valid.shape[1] + fixations * close == 120
    assert all(tokens.valid.all() for tokens in asked[1:])


def test_more_looks_see_more(cpu, page):
    seen = [look(ask, page, "?", engine=cpu, **options(fixations=n)).answer.confidence for n in (0, 1, 2)]
    assert seen[0] == 0 < seen[1] < seen[2]


def test_close_looks_are_whole_pixels(cpu, page):
    found = look(ask, page, "?", engine=cpu, source=Constant(0.5, 0.5), **options(fixations=1))
    close = found.tokens.fixation[0] == 1
    assert (found.tokens.size_px[0][close] == 16).all()
    corner = found.tokens.center_px[0][close].min(0) - 8
    rows = round((found.tokens.center_px[0][close].max(0)[1] + 8 - corner[1]) / 16)
    x, y = (int(v) for v in corner)
    patches = found.tokens.numpy()[0][close].reshape(rows, -1, 3, 16, 16)
    pixels = np.concatenate(np.concatenate(patches, 2), 2)
    read = page[y:y + pixels.shape[1], x:x + pixels.shape[2]].transpose(2, 0, 1)
    assert np.allclose((pixels + 1) / 2 * 255, read, atol=1e-3)


@pytest.mark.parametrize("point", [(0.0, 0.0), (1.0, 1.0), (0.99, 0.01)])
def test_at_the_border_it_stays_inside(cpu, page, point):
    found = look(ask, page, "?", engine=cpu, source=Constant(*point), **options())
    close = found.tokens.fixation[0] > 0
    half = found.tokens.size_px[0][close][:, ::-1] / 2
    low, high = found.tokens.center_px[0][close] - half, found.tokens.center_px[0][close] + half
    assert (low >= 0).all() and (high <= (640, 480)).all()


def test_a_small_image(cpu):
    found = look(ask, np.full((20, 20, 3), 200, np.uint8), "?", engine=cpu, **options())
    assert found.tokens.valid.shape[1] <= 120 and found.answer.text


def test_sources(cpu, page):
    told = Chosen()
    found = look(ask, page, "?", engine=cpu, source=told, **options())
    assert told.points == found.points

    class Asleep:
        def at(self, time_s=None):
            return None

        def close(self):
            pass

    assert look(ask, page, "?", engine=cpu, source=Asleep(), **options()).points == found.points
    assert look(ask, page, "?", engine=cpu, source=Constant(0.1, 0.9), **options()).points == [(0.1, 0.9)] * 2


def test_inhibition(cpu, page):
    free = look(ask, page, "?", engine=cpu, choose="saliency", **options(inhibit=0.0, fixations=3))
    kept = look(ask, page, "?", engine=cpu, choose="saliency", **options(inhibit=0.2, fixations=3))
    apart = [np.hypot(*np.subtract(a, b)) for i, a in enumerate(kept.points) for b in kept.points[:i]]
    assert min(apart) > 0.1     # half of 0.2 is shut
    assert min(np.hypot(*np.subtract(free.points[0], p)) for p in free.points[1:]) < 0.1


def test_with_nothing_to_see_it_covers_the_image(cpu):
    blank = np.zeros((300, 300, 3), np.uint8)
    points = look(lambda tokens, question: Answer("?", attention=np.zeros(tokens.valid.shape[1])), blank, "?",
                  engine=cpu, **options(fixations=3)).points
    assert points[0] == pytest.approx((0.5, 0.5), abs=0.02)
    assert min(np.hypot(*np.subtract(a, b)) for i, a in enumerate(points) for b in points[:i]) > 0.6


def test_answers_by_weight():
    """Two looks of which the second drew more attention: 0.25 and 0.75 of 1."""
    answers = iter([Answer("a"), Answer("a", attention=None, scores={"a": 0.9, "b": 0.1}),
                    Answer("b", scores={"a": 0.2, "b": 0.8})])
    shares = iter([None, 0.25, 0.75])

    def told(tokens, question):
        answer, share = next(answers), next(shares)
        own = tokens.fixation[0] == 1
        answer.attention = np.ones(len(own)) if share is None else np.where(own, share / max(own.sum(), 1),
                                                                             (1 - share) / (~own).sum())
        return answer

    image = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    found = look(told, image, "?", integrate="attention", engine=foveate.Engine(backend="cpu"), **options())
    assert found.answer.text == "b"
    assert found.answer.scores == pytest.approx({"a": 0.25 * 0.9 + 0.75 * 0.2, "b": 0.25 * 0.1 + 0.75 * 0.8})
    assert found.answer.confidence == pytest.approx(found.answer.scores["b"])


def test_the_surest_counts(cpu, page):
    answers = iter([Answer("a", 0.5, np.ones(1)), Answer("b", 0.9, np.ones(1)), Answer("c", 0.7, np.ones(1))])

    def told(tokens, question):
        answer = next(answers)
        answer.attention = np.ones(tokens.valid.shape[1])
        return answer

    assert look(told, page, "?", integrate="confidence", engine=cpu, **options()).answer.text == "b"


def test_heat_keeps_the_mass_and_its_place(cpu, page):
    tokens = cpu.tokens(page, budget=100, model="vit16")
    heat = heat_of(tokens, np.eye(100)[7])
    assert heat.sum() == pytest.approx(1, rel=1e-6)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    x, y = tokens.center_px[0][7] / (640, 480) * 32
    assert abs(column + 0.5 - x) <= 2 and abs(row + 0.5 - y) <= 2
    mixed = coarseness(cpu.tokens(page, layout="views", budget=200, model="vit16"))
    assert mixed.min() == 0 and mixed.max() == 1


def test_joined_tokens(cpu, page):
    parts = [cpu.tokens(page, budget=n, model="qwen2.5-vl", gaze=(0.2, 0.3)) for n in (5, 12)]
    joined = join(parts)
    assert joined.patches.shape == (17 * 4, 1176) and joined.sizes == [(480, 640)]
    assert np.array_equal(joined.numpy()[:20], parts[0].numpy())
    assert np.array_equal(joined.numpy()[20:], parts[1].numpy())
    assert joined.fixation.tolist() == [[0] * 5 + [1] * 12]
    assert np.array_equal(joined.center_px[:, 5:], parts[1].center_px)
    assert parts[1].fixation.tolist() == [[0] * 12]
    batch = [cpu.tokens(np.stack([page, page[::-1]]), budget=n, model="siglip2", dtype="float16") for n in (3, 4)]
    both = join(batch)
    assert both.patches.shape == (2, 7, 768) and both.patches.dtype == "float16"
    assert np.array_equal(both.numpy()[1, 3:], batch[1].numpy()[1])


@pytest.mark.parametrize("more, text", [
    ({"choose": "luck"}, "model: choose: got 'luck', expected one of 'attention', 'doubt', 'saliency'."),
    ({"integrate": "hope"}, "model: integrate: got 'hope', expected one of 'concat', 'layout', 'attention', "
                            "'confidence'."),
    ({"fixations": 33}, "model: fixations: got 33, expected 0..32."),
    ({"budget": "many"}, "model: budget: got 'many', expected 1..65536."),
    ({"fixations": 3, "budget": 7}, "model: budget: got 7, expected 8 or more for 3 fixations."),
    ({"first": 0.99}, "model: first: got 0.99, expected 0.05..0.95 of the budget."),
    ({"first": "half"}, "model: first: got 'half', expected a number."),
    ({"inhibit": None}, "model: inhibit: got None, expected a number."),
    ({"inhibit": 2}, "model: inhibit: got 2.0, expected 0..1 sides of the image."),
])
def test_errors(cpu, page, more, text):
    with pytest.raises(InputError) as error:
        look(ask, page, "?", engine=cpu, **options(**more))
    assert str(error.value) == text


@pytest.mark.parametrize("choose", ["attention", "doubt"])
def test_an_answer_that_does_not_tell(cpu, page, choose):
    with pytest.raises(InputError, match=f'model: Answer: got no {choose}, expected {choose}, for choose="{choose}".'):
        look(lambda tokens, question: Answer("?"), page, "?", choose=choose, engine=cpu, **options())


def test_more_images_than_one(cpu, page):
    with pytest.raises(InputError, match=r"model: look: got 2 images, expected one; call it for each\."):
        look(ask, [page, page], "?", engine=cpu)


def test_what_cannot_be_joined(cpu, page):
    tokens = cpu.tokens(page, budget=4, model="vit16")
    for parts, text in (([], "model: join: got no tokens, expected one or more."),
                        ([tokens, page], "model: join: got ndarray, expected Tokens."),
                        ([tokens, cpu.tokens(page, budget=4, model="siglip2")],
                         "model: join: preset: got siglip2, expected vit16."),
                        ([tokens, cpu.tokens(page[:100], budget=4, model="vit16")],
                         r"model: join: images: got \[\(100, 640\)\], expected \[\(480, 640\)\]\.")):
        with pytest.raises(InputError, match=text):
            join(parts)
