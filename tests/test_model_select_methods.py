# SPDX-License-Identifier: Apache-2.0
"""model.select: each method against loops over tokens, and what its paper or the notes this began with say of it."""

import math

import numpy as np
import pytest
import torch
from foveate.model import select
from foveate.model.select import polar
from foveate.model.select.topv import cost_of, transport
from oracle import model_select as oracle
from selecting import TOTAL, encoded

BUDGETS = (1, 2, 5, 9, 14, 20, 23, 24)
CASES = [(seed, k) for seed in range(3) for k in BUDGETS]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(seed, **more):
    """(given, the arrays of each image in float64)."""
    given = encoded(seed=seed, **more)
    arrays = [{name: np.asarray(value[row] if name != "positions" else value, np.float64)
               for name, value in given.items() if name != "grid"} for row in range(2)]
    return given, arrays


def same_groups(found, row, groups, merged):
    kept = sorted(groups)
    assert found.indices[row].tolist() == kept
    assert found.sizes[row].tolist() == [len(groups[token]) for token in kept]
    into = {token: place for place, token in enumerate(kept) for token in groups[token]}
    assert found.members[row].tolist() == [into.get(token, -1) for token in range(len(found.members[row]))]
    np.testing.assert_allclose(found.features[row].numpy(), merged, atol=2e-5)


# By score, by nothing

@pytest.mark.parametrize("k", BUDGETS)
def test_topk_and_uniform(k):
    given, _ = images(1)
    scores = (given["scores"] * 4).round()      # many equal ones
    found = select.topk(given["features"], k=k, scores=scores)
    assert found.indices.tolist() == [oracle.topk(row.tolist(), k) for row in scores]
    assert select.uniform(given["features"], k=k).indices[0].tolist() == oracle.uniform(TOTAL, k)
    for grid in ((4, 6), (2, 12), (24, 1), (1, 24)):
        assert select.uniform(given["features"], k=k, grid=grid).indices[1].tolist() == oracle.uniform(TOTAL, k, grid)


def test_uniform_is_even_in_two_directions():
    kept = select.uniform(torch.zeros(1, 64 * 64, 1), k=273, grid=(64, 64)).indices[0]
    counts = torch.bincount((kept // 64 // 16) * 4 + kept % 64 // 16, minlength=16)
    assert counts.min() >= 16 and counts.max() <= 20    # 17 each
    # along the sequence alone every 15th token stands in diagonals
    assert len(select.uniform(torch.zeros(1, 64 * 64, 1), k=64).indices.unique()) == 64


# Log-polar

GAZES = [(31, 31), (0, 0), (10, 50)]


@pytest.mark.parametrize("gaze, occupied", list(zip(GAZES, (183, 62, 147), strict=True)))
def test_bins_of_the_notes_are_empty(gaze, occupied):
    """Of 272 bins "with at least one token each" so many have one; the rest were filled by score. Ours: all of them."""
    assert len(set(oracle.seed_bins(gaze))) == occupied
    flat, places = torch.zeros(1, 4096), select.grid_positions(64, 64)
    at = places[gaze[1] * 64 + gaze[0]]
    for k in (272, 273, 17, 1000):
        found = select.logpolar(torch.zeros(1, 4096, 1), k=k, scores=flat, positions=places, gaze=at)
        assert found.occupied.tolist() == [k] and found.indices.shape == (1, k)
    plain = select.logpolar(torch.zeros(1, 4096, 1), k=273, scores=flat, positions=places, gaze=at, binning="plain",
                            rings=16, spokes=17)
    bins = polar.plain_bins(places, at, 16, 17)
    assert plain.occupied.item() == len(bins.unique()) and plain.indices.shape == (1, 273)
    assert occupied < plain.occupied < 272      # one pitch as the least radius is better, and a corner still empty


@pytest.mark.parametrize("k", BUDGETS)
@pytest.mark.parametrize("gaze", [None, (3, 2), (0, 0), (5.75, 0.5), (-9, 30)])
def test_logpolar(k, gaze):
    for seed in range(3):
        given, arrays = images(seed)
        if seed == 2:
            given["scores"] = (given["scores"] * 3).round()
        scores, places = given["scores"], given["positions"]
        common = {"scores": scores, "positions": places, "gaze": gaze}
        for row, image in enumerate(arrays):
            own = scores[row].tolist()
            at = np.array(gaze) if gaze else image["positions"][oracle.ranked(own)[0]]
            for rings in {1, math.isqrt(k), k}:
                bins = oracle.filled_bins(image["positions"], at, k, rings)
                assert sorted(set(bins)) == list(range(k))
                found = select.logpolar(given["features"], k=k, rings=rings, **common)
                assert (found.indices[row].tolist(), found.occupied[row]) == oracle.covered(own, bins, k, 0)
            bins = oracle.plain_bins(image["positions"], at, 3, 5)
            found = select.logpolar(given["features"], k=k, rings=3, spokes=5, binning="plain", **common)
            assert (found.indices[row].tolist(), found.occupied[row]) == oracle.covered(own, bins, k, 0)
            found = select.hybrid(given["features"], k=k, **common)
            first = math.floor(0.7 * k + 1e-9)
            bins = oracle.filled_bins(image["positions"], at, max(1, k - first), math.isqrt(max(1, k - first)))
            assert (found.indices[row].tolist(), found.occupied[row]) == oracle.covered(own, bins, k, first)


def test_bins_are_log_polar():
    """Rings grow with the distance, and near the gaze every token is kept."""
    places = select.grid_positions(64, 64)
    gaze = torch.tensor([32.0, 32.0])
    found = select.logpolar(torch.zeros(1, 4096, 1), k=273, scores=torch.zeros(1, 4096), positions=places, gaze=gaze)
    distance = (places - gaze).norm(dim=1)
    kept = torch.zeros(4096, dtype=torch.bool).index_fill(0, found.indices[0], True)
    assert kept[distance < 4].all()
    shares = [kept[(distance >= low) & (distance < 2 * low)].float().mean().item() for low in (4, 8, 16)]
    assert shares[0] > 2.5 * shares[1] > 2.5**2 * shares[2] > 0     # 4 times as many tokens for as many bins
    # every direction: no octant without tokens
    angle = torch.atan2(*(places[found.indices[0]] - gaze).unbind(1))
    assert torch.histc(angle, 8, -math.pi, math.pi).min() > 20


def test_hybrid_is_191_and_82():
    scores = torch.rand(1, 4096, generator=torch.Generator().manual_seed(0))
    places = select.grid_positions(64, 64)
    found = select.hybrid(torch.zeros(1, 4096, 1), k=273, scores=scores, positions=places)
    assert found.occupied.tolist() == [82]
    best = set(oracle.topk(scores[0].tolist(), 191))
    assert best < set(found.indices[0].tolist()) and found.indices.shape == (1, 273)
    assert math.floor(0.7 * 273 + 1e-9) == 191 and int(0.7 * 90) == 62      # not 63, without a little more
    only = select.hybrid(torch.zeros(1, 4096, 1), k=90, scores=scores, positions=places)
    assert set(oracle.topk(scores[0].tolist(), 63)) < set(only.indices[0].tolist()) and only.occupied.tolist() == [27]


def test_pitch():
    for grid in ((64, 64), (5, 9), (1, 7), (2, 2)):
        assert polar.pitch_of(select.grid_positions(*grid) * 14) == pytest.approx(14)
    assert polar.pitch_of(torch.zeros(1, 2)) == polar.pitch_of(torch.zeros(9, 2)) == 1


# SHIRG

def test_shirg_is_980():
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 1280, 4, generator=random)
    shapes = set()
    for _ in range(3):  # whatever a step sees
        attention, similarity = (torch.rand(2, 1280, generator=random) for _ in range(2))
        for rule in ({"attention": attention}, {"similarity": similarity},
                     {"attention": attention, "similarity": similarity},
                     {"attention": attention, "similarity": similarity, "weights": (0.5, 0.3), "diversity": 0.1}):
            found = select.shirg(features, **rule)
            shapes.add((tuple(found.indices.shape), tuple(found.features.shape)))
            assert found.indices[:, :256].tolist() == [list(range(256))] * 2
            assert torch.equal(select.shirg(features, **rule).indices, found.indices)
    assert shapes == {((2, 980), (2, 980, 4))}
    assert 256 + math.ceil(0.707 * 1024) == 980 != 256 + int(0.707 * 1024)
    # the other split of 980: a smaller overview, more of the fovea
    assert select.shirg(features[:, :1220], attention=attention[:, :1220], overview=196).indices.shape == (2, 980)


@pytest.mark.parametrize("seed, k", [case for case in CASES if case[1] > 4])
def test_shirg(seed, k):
    given, _ = images(seed)
    found = select.shirg(given["features"], k=k, overview=4, attention=given["scores"], similarity=given["similarity"])
    for row in range(2):
        own = given["scores"][row].numpy(), given["similarity"][row].numpy()
        assert found.indices[row].tolist() == oracle.shirg(*own, 4, k, (0.7, 0.3))
    alone = select.shirg(given["features"], k=k, overview=4, similarity=given["similarity"]).indices
    assert alone[0].tolist() == [0, 1, 2, 3, *(4 + i for i in oracle.topk(given["similarity"][0, 4:].tolist(), k - 4))]


def test_diversity_takes_off_what_the_overview_shows():
    features = torch.tensor([[[1.0, 0], [1, 0], [1, 0], [0, 1]]])
    flat = torch.zeros(1, 4)
    assert select.shirg(features, k=3, overview=2, attention=flat).indices.tolist() == [[0, 1, 2]]
    assert select.shirg(features, k=3, overview=2, attention=flat, diversity=0.1).indices.tolist() == [[0, 1, 3]]


# Rates

def test_weights_of_rates():
    """4 : 2 : 1 : 1/2 : 1/4 are 16, 8, 4, 2 and 1 tokens of 4 x 4 cells."""
    level = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]).repeat_interleave(4).expand(4, 20).reshape(1, 80)
    found = select.vrs(torch.zeros(1, 80, 1), k=31, scores=level, grid=(4, 20))
    assert [int(size) for size in found.sizes[0].sort().values] == [1] * 16 + [2] * 8 + [4] * 4 + [8] * 2 + [16]
    tile = found.indices[0] % 20 // 4
    assert torch.bincount(tile).tolist() == [16, 8, 4, 2, 1]


@pytest.mark.parametrize("grid", [(4, 6), (8, 8), (5, 7), (1, 9), (13, 3)])
def test_vrs(grid):
    for seed in range(2):
        given = encoded(seed=seed, grid=grid)
        total = grid[0] * grid[1]
        for k in {1, 2, 3, total // 3, total // 2, total - 1, total}:
            for edge in (1, 4, 8):
                found = select.vrs(given["features"], k=k, scores=given["scores"], grid=grid, max_rate=edge)
                for row in range(2):
                    groups = oracle.vrs(given["scores"][row].tolist(), grid, k, edge=edge)
                    merged = [given["features"][row][groups[token]].mean(0).numpy() for token in sorted(groups)]
                    same_groups(found, row, groups, merged)


# Likeness

@pytest.mark.parametrize("seed, k", CASES)
def test_tome(seed, k):
    given, arrays = images(seed)
    sizes = torch.randint(1, 4, (2, TOTAL), generator=torch.Generator().manual_seed(seed)).float()
    found = select.tome(given["features"], k=k, keys=given["keys"], sizes=sizes)
    plain = select.tome(given["features"], k=k)
    for row, image in enumerate(arrays):
        own = sizes[row].double().numpy()
        groups, merged = oracle.tome(image["features"], image["keys"], own, k)
        assert found.indices[row].tolist() == sorted(groups)
        assert found.sizes[row].tolist() == [own[groups[token]].sum() for token in sorted(groups)]
        np.testing.assert_allclose(found.features[row].numpy(), merged, atol=2e-5)
        groups, merged = oracle.tome(image["features"], image["features"], np.ones(TOTAL), k)
        same_groups(plain, row, groups, merged)
    assert found.sizes.sum(1).tolist() == sizes.sum(1).tolist() and plain.sizes.sum() == 2 * TOTAL


@pytest.mark.parametrize("k", [4, 9, 17])
@pytest.mark.parametrize("protect", [1, 2, 3])
def test_protected_tokens(k, protect):
    given, arrays = images(0)
    merged = select.tome(given["features"], k=k, keys=given["keys"], protect=protect)
    assert torch.equal(merged.features[:, :protect], given["features"][:, :protect])
    assert (merged.sizes[:, :protect] == 1).all()
    for graph in ("full", "bipartite"):
        found = select.saint(given["features"], k=k, keys=given["keys"], protect=protect, graph=graph)
        assert found.indices[0].tolist() == oracle.saint(arrays[0]["keys"], k, graph, protect)
    groups, features = oracle.tome(arrays[1]["features"], arrays[1]["keys"], np.ones(TOTAL), k, protect)
    same_groups(merged, 1, groups, features)


def test_tome_keeps_the_weighted_mean():
    given, _ = images(0)
    for k in (1, 12, 20):
        found = select.tome(given["features"], k=k)
        whole = (found.features * found.sizes[..., None]).sum(1) / TOTAL
        assert torch.allclose(whole, given["features"].mean(1), atol=1e-6)
    # a round at a time is the same as all of them where the first takes as many as it can
    half = select.tome(given["features"], k=12)
    rest = select.tome(half.features, k=6, sizes=half.sizes)
    assert torch.allclose(select.tome(given["features"], k=6).features, rest.features, atol=1e-6)


@pytest.mark.parametrize("graph", ["full", "bipartite"])
@pytest.mark.parametrize("seed, k", CASES)
def test_saint(graph, seed, k):
    given, arrays = images(seed, width=3)   # so that some are alike
    found = select.saint(given["features"], k=k, graph=graph)
    assert found.indices.tolist() == [oracle.saint(image["features"], k, graph) for image in arrays]
    by_keys = select.saint(given["features"], k=k, keys=given["keys"], graph=graph)
    assert by_keys.indices.tolist() == [oracle.saint(image["keys"], k, graph) for image in arrays]


def test_saint_takes_a_sixteenth_at_a_time():
    given, arrays = images(0, grid=(8, 10))
    found = select.saint(given["features"], k=40)
    assert found.indices.tolist() == [oracle.saint(image["features"], 40, "full") for image in arrays]


@pytest.mark.parametrize("seed, k", CASES)
def test_visionzip(seed, k):
    given, arrays = images(seed)
    for contextual in {0, k // 2, k - 1, 5 * k // 32}:
        for cls, summed in ((False, False), (True, False), (False, True), (True, True)):
            found = select.visionzip(given["features"], k=k, attention=given["scores"], keys=given["keys"], cls=cls,
                                     contextual=contextual, merge="sum" if summed else "mean")
            for row, image in enumerate(arrays):
                groups, merged = oracle.visionzip(image["features"], image["keys"], image["scores"], k, contextual,
                                                  cls, summed)
                same_groups(found, row, groups, merged)
                assert not cls or found.indices[row, 0] == 0


def test_visionzip_has_the_papers_shares():
    features = torch.randn(1, 577, 4, generator=torch.Generator().manual_seed(0))
    for k, contextual in ((64, 10), (128, 20), (192, 30)):
        found = select.visionzip(features, k=k, attention=features[..., 0], cls=True)
        # 384 and more were merged into the contextual ones, so hardly any of those is alone
        assert contextual - 4 <= (found.sizes > 1).sum() <= contextual and found.sizes.sum() == 577
        assert torch.equal(found.indices, select.visionzip(features, k=k, attention=features[..., 0], cls=True,
                                                           contextual=contextual).indices)


# Transport

@pytest.mark.parametrize("seed, k", CASES)
def test_topv(seed, k):
    given, arrays = images(seed)
    target = given["similarity"][..., None] * given["keys"]
    for more in ({}, {"target": target}, {"importance": "cost"}, {"weights": (1, 0, 2), "sigma": 2.0},
                 {"epsilon": 0.5, "iterations": 5}, {"iterations": 1}, {"recover": 0.0}, {"recover": 1.0}):
        found = select.topv(given["features"], k=k, positions=given["positions"], **more)
        options = {"weights": (1, 1, 0.01)} | {name: value for name, value in more.items()
                                               if name in ("weights", "sigma", "epsilon", "iterations")}
        for row, image in enumerate(arrays):
            source = image["features"]
            other = target[row].double().numpy() if "target" in more else \
                (source - source.mean(1, keepdims=True)) / np.sqrt(source.var(1, keepdims=True) + 1e-5)
            sums = oracle.transport(source, other, image["positions"], **options)[more.get("importance") == "cost"]
            again = math.floor(more.get("recover", 0.2) * k + 1e-9)
            assert found.indices[row].tolist() == oracle.topv(sums.tolist(), k, again), more


def test_importance_is_not_constant():
    """Ending on the rows it would be, whatever the features; with many iterations it comes near to that."""
    given, _ = images(0)
    source = given["features"][0]
    cost = cost_of(source, torch.nn.functional.layer_norm(source, source.shape[1:]), given["positions"], (1, 1, 0.01),
                   10.0)
    spread = {steps: float(transport(cost, 0.1, steps, False).std()) for steps in (1, 3, 300)}
    assert spread[1] > spread[3] > 1e-2 > 1e-4 > spread[300]
    assert float(transport(cost, 0.1, 300, True).std()) > 1e-2
    assert transport(cost, 0.1, 3, False).sum().item() == pytest.approx(TOTAL, rel=1e-5)
