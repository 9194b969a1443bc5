# SPDX-License-Identifier: Apache-2.0
"""model.select: what holds for every method, in every dtype, at every k; and what is refused."""

import re
import subprocess
import sys

import pytest
import torch
from foveate.error import InputError
from foveate.model import select
from selecting import GRID, MERGING, TOTAL, WIDTH, encoded, row_of, runs, same

RUNS = runs()
METHODS = list(RUNS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Literals

def test_topk():
    features = torch.arange(10.0).reshape(1, 5, 2)
    found = select.topk(features, k=3, scores=torch.tensor([[0.1, 0.9, 0.5, 0.2, 0.7]]))
    assert found.indices.tolist() == [[1, 2, 4]] and found.indices.dtype == torch.int64
    assert found.features.tolist() == [[[2, 3], [4, 5], [8, 9]]]
    assert found.total == 5 and found.sizes is found.members is found.occupied is None
    assert found.bias.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("k, grid, kept", [
    (2, None, [3, 9]), (4, None, [1, 4, 7, 10]), (12, None, list(range(12))),
    (6, (3, 4), [0, 2, 3, 8, 10, 11]), (1, (3, 4), [6]), (12, (3, 4), list(range(12))), (3, (12, 1), [2, 6, 10])])
def test_uniform(k, grid, kept):
    assert select.uniform(torch.zeros(1, 12, 2), k=k, grid=grid).indices.tolist() == [kept]


def test_random_is_seeded():
    features = torch.zeros(2, 100, 1)
    first = select.random(features, k=10, seed=3).indices
    assert torch.equal(first[0], first[1]) and torch.equal(first, select.random(features, k=10, seed=3).indices)
    each = select.random(features, k=10, seed=(3, 4)).indices
    assert torch.equal(each[0], first[0]) and not torch.equal(each[1], first[1])
    # the same seed with more tokens keeps those too, so budgets can be compared
    assert set(first[0].tolist()) < set(select.random(features, k=30, seed=3).indices[0].tolist())
    assert torch.bincount(torch.cat([select.random(features[:1], k=10, seed=seed).indices[0] for seed in range(200)]),
                          minlength=100).max() < 40    # 20 each is what chance would give


# Facts that hold for every method

@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("k", range(1, TOTAL + 1))
def test_k_is_exact(name, k):
    given = encoded()
    found = RUNS[name](given, k)
    assert found.indices.shape == (2, k) and found.features.shape == (2, k, WIDTH) and found.total == TOTAL
    assert (found.indices[:, 1:] > found.indices[:, :-1]).all()
    assert found.indices.min() >= 0 and found.indices.max() < TOTAL
    if k == TOTAL:
        assert torch.equal(found.features, given["features"])
    if found.members is None:
        assert torch.equal(found.features, select.Selection.take(found, given["features"]))
    else:
        # what is kept is in the row it is kept as, and rows are as large as their sizes say
        assert torch.equal(found.members.gather(1, found.indices), torch.arange(k).expand(2, k))
        counts = torch.stack([torch.bincount(row[row >= 0], minlength=k) for row in found.members])
        assert torch.equal(found.sizes, counts.float())
        if name != "visionzip" or k > 6:    # fewer have no contextual tokens
            assert found.sizes.sum(1).tolist() == [TOTAL] * 2
        assert torch.allclose(found.pool(given["features"]), found.features, atol=1e-6)
        assert torch.equal(found.bias, found.sizes.log())


@pytest.mark.parametrize("name", ["topk", "logpolar", "hybrid", "vrs", "uniform", "random"])
def test_k_is_exact_of_4096(name):
    given = encoded(batch=1, grid=(64, 64), width=1)
    for k in (1, 2, 3, 63, 64, 65, 180, 272, 273, 365, 456, 980, 1024, 2047, 4095, 4096):
        found = RUNS[name](given, k)
        assert found.indices.shape == (1, k) and (found.indices[:, 1:] > found.indices[:, :-1]).all()
        assert name != "logpolar" or found.occupied == k
        assert name != "vrs" or found.sizes.sum() == 4096


@pytest.mark.parametrize("name", METHODS)
def test_batch_is_one_by_one(name):
    given = encoded(batch=3)
    for k in (1, 7, 16):
        found = RUNS[name](given, k)
        for row in range(3):
            alone = RUNS[name](row_of(given, row), k)
            same(alone, found._replace(**{field: value[row:row + 1] for field, value in found._asdict().items()
                                          if isinstance(value, torch.Tensor)}))


@pytest.mark.parametrize("name", METHODS)
def test_same_again_and_under_ties(name):
    given = encoded()
    given |= {"scores": torch.zeros(2, TOTAL), "similarity": torch.zeros(2, TOTAL),
              "keys": torch.ones(2, TOTAL, 4), "features": torch.ones(2, TOTAL, WIDTH)}
    for k in (1, 5, 12, 23):
        found = RUNS[name](given, k)
        same(found, RUNS[name](given, k))
        assert torch.equal(found.indices[0], found.indices[1])
        assert torch.equal(found.features, torch.ones(2, k, WIDTH))
    if name in ("topk", "shirg", "saint"):
        assert RUNS[name](given, 5).indices.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("name", ["topk", "logpolar", "hybrid", "saint", "topv"])
def test_order_of_tokens_does_not_matter(name):
    given = encoded(batch=1)
    mixed = torch.randperm(TOTAL, generator=torch.Generator().manual_seed(5))
    moved = {key: value[:, mixed] if isinstance(value, torch.Tensor) and value.ndim > 1 and key != "positions"
             else value for key, value in given.items()} | {"positions": given["positions"][mixed]}
    more = {"recover": 0.0} if name == "topv" else {}       # what is recovered goes by place
    for k in (2, 6, 15):    # of its last two SAINT keeps the first, wherever that is
        kept, back = RUNS[name](given, k, **more).indices[0], mixed[RUNS[name](moved, k, **more).indices[0]]
        assert sorted(back.tolist()) == kept.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", METHODS)
def test_dtypes(name, dtype):
    found = RUNS[name](encoded(dtype=dtype), 9)
    assert found.features.dtype == dtype and found.indices.dtype == torch.int64
    if name in MERGING:
        assert found.sizes.dtype == torch.float32
    # what is decided, is decided in float32: of the same numbers
    wide = {key: value.float() if isinstance(value, torch.Tensor) else value
            for key, value in encoded(dtype=dtype).items()}
    assert torch.equal(found.indices, RUNS[name](wide, 9).indices)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_the_features(name):
    given = encoded()
    given["features"].requires_grad_(True)
    found = RUNS[name](given, 9)
    found.features.sum().backward()
    got = given["features"].grad.sum((1, 2))
    assert torch.allclose(got, torch.full((2,), 9.0 * WIDTH), atol=1e-4) and not found.indices.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_positions_stay(name):
    given = encoded()
    thw = torch.stack([torch.full((TOTAL,), 3), torch.arange(TOTAL) // 6, torch.arange(TOTAL) % 6], 1)
    found = RUNS[name](given, 9)
    assert torch.equal(found.take(thw), thw[found.indices])
    assert torch.equal(found.take(given["features"]), given["features"][torch.arange(2)[:, None], found.indices])


def test_pool_is_the_mean_of_what_was_merged():
    found = select.vrs(torch.zeros(1, 16, 2), k=4, scores=torch.zeros(1, 16), grid=(4, 4))
    assert found.pool(select.grid_positions(4, 4)).tolist() == [[[1, 1], [3, 1], [1, 3], [3, 3]]]
    assert found.take(select.grid_positions(4, 4)).tolist() == [[[0.5, 0.5], [2.5, 0.5], [0.5, 2.5], [2.5, 2.5]]]
    assert select.topk(torch.zeros(1, 4, 2), k=1, scores=torch.tensor([[0, 0, 1, 0]])).pool(
        torch.arange(4)).tolist() == [[2]]


def test_importing_needs_torch_alone():
    code = ("import sys, foveate.model.select\n"
            "print(sorted({'torch', 'transformers', 'timm', 'PIL', 'sklearn'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['torch']\n"


# Errors

F, S, P = torch.zeros(2, 24, 8), torch.zeros(2, 24), select.grid_positions(*GRID)
NAN = S.clone().index_fill(1, torch.tensor(5), torch.nan)
META = torch.zeros(2, 24, device="meta")
found = select.topk(F, k=3, scores=S)
WRONG = {
    "model: features: got float32 (24, 8), expected a float tensor (B, N, D).":
        lambda: select.topk(F[0], k=3, scores=S),
    "model: features: got int64 (2, 24, 8), expected a float tensor (B, N, D).":
        lambda: select.random(F.long(), k=3),
    "model: features: got ndarray, expected a float tensor (B, N, D).": lambda: select.random(F.numpy(), k=3),
    "model: features: got shape (2, 0, 8), expected one image and one token or more.":
        lambda: select.random(F[:, :0], k=1),
    "model: k: got 0, expected a whole number, 1..24.": lambda: select.random(F, k=0),
    "model: k: got 25, expected a whole number, 1..24.": lambda: select.topk(F, k=25, scores=S),
    "model: k: got 2.0, expected a whole number, 1..24.": lambda: select.uniform(F, k=2.0),
    "model: scores: got float32 (2, 23), expected a tensor (2, 24).": lambda: select.topk(F, k=3, scores=S[:, 1:]),
    "model: scores: got NaN or infinity, expected finite numbers.": lambda: select.topk(F, k=3, scores=NAN),
    "model: scores: got one on meta, expected cpu, where the features are.": lambda: select.topk(F, k=3, scores=META),
    "model: grid: got (5, 5), expected (rows, columns) of 24 tokens.": lambda: select.uniform(F, k=3, grid=(5, 5)),
    "model: grid: got 24, expected (rows, columns) of 24 tokens.": lambda: select.vrs(F, k=3, scores=S, grid=24),
    "model: seed: got (1, 2, 3), expected a whole number 0..2^63 - 1, or 2 of them.":
        lambda: select.random(F, k=3, seed=(1, 2, 3)),
    "model: positions: got float32 (24, 3), expected a tensor (2, 24, 2).":
        lambda: select.logpolar(F, k=3, scores=S, positions=torch.zeros(24, 3)),
    "model: positions: got NaN or infinity, expected finite numbers.":
        lambda: select.hybrid(F, k=3, scores=S, positions=P * torch.inf),
    "model: gaze: got (0.5,), expected (x, y) or (2, 2), finite.":
        lambda: select.logpolar(F, k=3, scores=S, positions=P, gaze=(0.5,)),
    "model: gaze: got (nan, 0), expected (x, y) or (2, 2), finite.":
        lambda: select.hybrid(F, k=3, scores=S, positions=P, gaze=(float("nan"), 0)),
    "model: binning: got 'square', expected one of 'filled', 'plain'.":
        lambda: select.logpolar(F, k=3, scores=S, positions=P, binning="square"),
    "model: rings: got 4, expected a whole number, 1..3.":
        lambda: select.logpolar(F, k=3, scores=S, positions=P, rings=4),
    "model: spokes: got 3 with filled bins, expected none. Or binning=\"plain\".":
        lambda: select.logpolar(F, k=3, scores=S, positions=P, spokes=3),
    "model: spokes: got 0, expected a whole number, 1..24.":
        lambda: select.logpolar(F, k=3, scores=S, positions=P, spokes=0, binning="plain"),
    "model: share: got 1.5, expected 0..1.": lambda: select.hybrid(F, k=3, scores=S, positions=P, share=1.5),
    "model: scores: got neither attention nor similarity, expected one of them or both.":
        lambda: select.shirg(F, k=3, overview=2),
    "model: overview: got 24, expected a whole number, 1..23.":
        lambda: select.shirg(F, k=3, overview=24, attention=S),
    "model: k: got 3, expected a whole number, 4..24.": lambda: select.shirg(F, k=3, overview=3, attention=S),
    "model: attention: got NaN or infinity, expected finite numbers.":
        lambda: select.shirg(F, k=3, overview=2, attention=NAN),
    "model: similarity: got NaN or infinity, expected finite numbers.":
        lambda: select.shirg(F, k=3, overview=2, similarity=NAN),
    "model: weights: got (1.0, 0.0), expected 3 finite numbers, 0 or more.":
        lambda: select.shirg(F, k=3, overview=2, attention=S, weights=(1.0,)),
    "model: weights: got (1, -1, 0), expected 3 finite numbers, 0 or more.":
        lambda: select.topv(F, k=3, positions=P, weights=(1, -1, 0)),
    "model: cuts: got (0.1, 0.2), expected 4 finite numbers, 0 or more.":
        lambda: select.vrs(F, k=3, scores=S, grid=GRID, cuts=(0.1, 0.2)),
    "model: cuts: got (0.4, 0.2, 0.6, 0.8), expected rising numbers in 0..1.":
        lambda: select.vrs(F, k=3, scores=S, grid=GRID, cuts=(0.4, 0.2, 0.6, 0.8)),
    "model: max_rate: got 0, expected a whole number, 1..65536.":
        lambda: select.vrs(F, k=3, scores=S, grid=GRID, max_rate=0),
    "model: max_rate: got 3, expected a power of two.": lambda: select.vrs(F, k=3, scores=S, grid=GRID, max_rate=3),
    "model: keys: got float32 (2, 24), expected a tensor (2, 24, C).": lambda: select.tome(F, k=3, keys=S),
    "model: features: got NaN or infinity, expected finite numbers.": lambda: select.tome(F * torch.nan, k=3),
    "model: protect: got 3, expected a whole number, 0..2.": lambda: select.tome(F, k=3, protect=3),
    "model: sizes: got a least of 0, expected above 0.": lambda: select.tome(F, k=3, sizes=S),
    "model: graph: got 'half', expected one of 'full', 'bipartite'.": lambda: select.saint(F, k=3, graph="half"),
    "model: tau: got 'x', expected a number.": lambda: select.saint(F, k=3, tau="x"),
    "model: contextual: got 3, expected a whole number, 0..2.":
        lambda: select.visionzip(F, k=3, attention=S, contextual=3),
    "model: merge: got 'max', expected one of 'mean', 'sum'.":
        lambda: select.visionzip(F, k=3, attention=S, merge="max"),
    "model: target: got float32 (2, 24, 7), expected a tensor (2, 24, 8).":
        lambda: select.topv(F, k=3, positions=P, target=F[..., 1:]),
    "model: sigma: got 0, expected above 0.": lambda: select.topv(F, k=3, positions=P, sigma=0),
    "model: epsilon: got -1, expected above 0.": lambda: select.topv(F, k=3, positions=P, epsilon=-1),
    "model: iterations: got 0, expected a whole number, 1..1000.":
        lambda: select.topv(F, k=3, positions=P, iterations=0),
    "model: importance: got 'columns', expected one of 'rows', 'cost'.":
        lambda: select.topv(F, k=3, positions=P, importance="columns"),
    "model: recover: got -0.1, expected 0..1.": lambda: select.topv(F, k=3, positions=P, recover=-0.1),
    "model: plane: got shape (2, 23), expected (24, ...) or (2, 24, ...).": lambda: found.take(S[:, 1:]),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: re.sub(r"[^\w ]", "", text)[7:50])
def test_refused(text):
    with pytest.raises(InputError) as error:
        WRONG[text]()
    assert str(error.value) == text


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"random", "uniform"}))
def test_nan_is_refused_and_a_flat_map_works(name):
    given = encoded()
    bad = {"saint": "keys", "tome": "keys", "topv": "features"}.get(name, "scores")
    broken = given[bad].clone()
    broken[1, 3] = torch.nan
    with pytest.raises(InputError, match="got NaN or infinity, expected finite numbers"):
        RUNS[name](given | {bad: broken}, 9)
    RUNS[name](given | {"scores": torch.full((2, TOTAL), 0.3)}, 9)
