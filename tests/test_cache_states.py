"""Caches in any order of building, dying, damage, repair and change: what is read is right, or refused.

A machine that Hypothesis drives keeps what each cache must hold as plain arrays, and every byte that a
finished cache had. A build that dies does so before a chosen change of the disk; from then on nothing
it tries, its tidying included, reaches the disk: it is as dead as a killed process.
"""

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from planned import NUM_CLIPS, all_bytes, make_plan

from pipeline.filling import fill, repair
from pipeline.weigh import weigh
from stores.arraynames import array_parts, chunk_of
from stores.building import building_folder, cache_folder
from stores.cache import open_cache, read_cache
from stores.cachechecks import damaged_files
from stores.cachekeys import CachePlan
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import digest
from stores.mapped import stored_logits
from stores.parts import Part
from stores.unfinished import BUILDING
from stores.weights import open_weights

NUM_ROWS, ROWS, CHUNKS = 70, 32, 3
TEACHERS = ("id", "ood", "third")
CHANGES = ("replace", "rename", "link", "unlink", "rmdir", "mkdir")
HERE, ELSEWHERE = {"device": "cpu", "torch": "2"}, {"device": "cpu", "torch": "3"}
WAYS_OUT = ("run ", "delete ", "give ")


CHOICE = {
    "teachers": st.sampled_from([("id", "ood"), ("ood",), TEACHERS]),
    "views": st.sampled_from([0, 0, 0, 1]),
    "here": st.sampled_from([HERE, HERE, HERE, ELSEWHERE]),
}


ANY = st.integers(0, 10_000)  # the one of that number, counted around: what there is may differ
HARM = {
    "kind": st.sampled_from(["flip", "cut", "lose", "zero", "swap"]),
    "name": ANY,
    "other": ANY,
    "place": ANY,
}


class Died(BaseException):
    """Nothing that this process does reaches the disk any more."""


@contextmanager
def dying(point):
    """Die before the change of the disk of this number; 0 is never."""
    left, real = [point], {name: getattr(os, name) for name in CHANGES}

    def dead(change):
        def changed(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Died
            return change(*args, **kwargs)

        return changed

    if point:
        for name, change in real.items():
            setattr(os, name, dead(change))
    try:
        yield
    finally:
        for name, change in real.items():
            setattr(os, name, change)


@dataclass(frozen=True)
class World:
    """What teachers are asked about now, by the chunk, and how often each has been trained."""

    rows: tuple[int, ...] = (0,) * CHUNKS
    taught: tuple[int, ...] = (0,) * len(TEACHERS)

    def plan(self, teachers, views) -> CachePlan:
        return make_plan(
            teachers,
            num_rows=NUM_ROWS,
            salt={name: f"{name} {self.taught[TEACHERS.index(name)]}" for name in teachers},
            rows=[digest([chunk, content]) for chunk, content in enumerate(self.rows)],
            views=views,
        )

    def said(self, array, lo, hi, here):
        """What a teacher says of rows of one chunk on some machine, [hi - lo, 2, T]: never the same."""
        teacher, view = array_parts(array)
        number = TEACHERS.index(teacher)
        row = [lo // ROWS, self.rows[lo // ROWS]]
        of = [number, self.taught[number], view, *row, int(here["torch"])]
        logits = np.random.default_rng(of).normal(size=(hi - lo, 2, NUM_CLIPS))
        return logits.astype(np.float32)


@dataclass(frozen=True)
class Known:
    """A finished cache: what it was made from, on which machine each array, and every byte it had."""

    plan: CachePlan
    world: World
    built: dict[str, dict[str, str]]
    bytes: dict[str, bytes]

    def expected(self):
        """What it must hold, by array: all that was said on the machine that the array names."""
        valid = np.arange(NUM_CLIPS) < self.plan.samples.clips_N[:, None, None]
        spans = [self.plan.layout.span(chunk) for chunk in range(CHUNKS)]
        for name, here in self.built.items():
            said = np.concatenate([self.world.said(name, lo, hi, here) for lo, hi in spans])
            yield name, np.where(valid, said, np.float32(0))

    def made_elsewhere(self, names, here):
        """Whether some of these files hold logits that another machine said."""
        arrays = {found[0] for name in names if (found := chunk_of(name))}
        return any(self.built[array] != here for array in arrays)

    def differing(self, folder):
        """Names of files that are not as they were, weights aside."""
        now = all_bytes(folder)
        return {name for name, data in self.bytes.items() if now.get(name) != data}


class Caches(RuleBasedStateMachine):
    """Caches in one folder, what the world is like now, and what is known of each cache."""

    def __init__(self):
        super().__init__()
        memory = Path("/dev/shm")
        self.place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.out = self.place / "out"
        self.world, self.known, self.renamed = World(), {}, 0

    def teardown(self):
        for folder in self.known:
            self.look(folder)
        shutil.rmtree(self.place)

    @initialize()
    def begin(self):
        self.build(("id", "ood"), 0, HERE)

    # what changes in the world

    @rule(chunk=st.integers(0, CHUNKS - 1), content=st.integers(0, 1), teacher=ANY, times=ANY)
    def change(self, chunk, content, teacher, times):
        """Other samples in a chunk, or a teacher trained anew; or both as they were before."""
        rows, taught = list(self.world.rows), list(self.world.taught)
        rows[chunk] = content
        taught[teacher % len(taught)] = int(times % 4 == 0)
        self.world = World(tuple(rows), tuple(taught))

    # building

    @rule(**CHOICE)
    def build(self, teachers, views, here):
        """Left in peace, a build ends with a cache that is right, and asks nothing it could have known."""
        self.build_one(self.world.plan(teachers, views), here)

    @rule(which=ANY, here=CHOICE["here"])
    def build_again(self, which, here):
        """The same of a cache that is there already, whatever befell it since."""
        if self.known:
            known = self.known[self.one(which)]
            self.world = known.world
            self.build_one(known.plan, here)

    def build_one(self, plan, here):
        folder, held = cache_folder(self.out, plan), self.held(here)
        lost = self.known[folder].differing(folder) if folder in self.known else set()
        asked, refusal = attempt(lambda: self.fill(plan, here))
        if refusal:
            elsewhere = lost and self.known[folder].made_elsewhere(lost, here)
            assert lost & {MANIFEST, SEAL} or elsewhere, refusal
            assert "run `refkd cache` again" in refusal
            event(f"build: refused to mend, made elsewhere {elsewhere}")
            return
        event(
            f"build: {'asked' if asked else 'nothing asked'}, {describe(folder, self.known, lost)}"
        )
        assert not lost & {MANIFEST, SEAL}
        assert len(asked) == len(set(asked))
        if not lost:  # what is mended is asked for, whoever else has it
            assert not held & {self.identity(plan, *one) for one in asked}
        self.learn(plan)
        assert not self.known[folder].differing(folder)
        left = [path.name for path in (self.out / BUILDING).iterdir() if path.suffix != ".lock"]
        assert not [name for name in left if plan.key[:16] in name]

    @rule(point=st.integers(1, 40), hurt=st.booleans(), again=st.booleans(), **HARM, **CHOICE)
    def die_building(self, point, hurt, again, teachers, views, here, **harm):
        """Whatever a dead build leaves, there is a right cache or none; the next one goes on."""
        plan = self.world.plan(teachers, views)
        with suppress(Died, RefkdError), dying(point):
            self.fill(plan, here)
            event("death came too late")
        event(f"dead: cache there {cache_folder(self.out, plan).exists()}")
        if cache_folder(self.out, plan).exists():
            self.learn(plan)
        elif hurt and building_folder(self.out, plan).is_dir():
            spoil(building_folder(self.out, plan), **harm)
        if again:
            self.build_one(plan, here)

    @rule(number=st.integers(1, 2), point=st.sampled_from([0, 0, 20, 45]), **CHOICE)
    def build_a_part(self, number, point, teachers, views, here):
        plan = self.world.plan(teachers, views)
        with suppress(Died, RefkdError), dying(point):
            self.fill(plan, here, part=Part(number, 2))
            event(f"part: cache there {cache_folder(self.out, plan).exists()}")
        if cache_folder(self.out, plan).exists():
            self.learn(plan)

    # what befalls them

    @rule(which=ANY, **HARM)
    def damage(self, which, **harm):
        if not self.known:
            return
        folder = self.one(which)
        spoil(folder, **harm)

    @rule(which=ANY, gone=st.booleans())
    def take_away(self, which, gone):
        """Delete a cache, or give it another name."""
        if not self.known:
            return
        folder = self.one(which)
        known = self.known.pop(folder)
        if gone:
            shutil.rmtree(folder)
        else:
            self.renamed += 1
            to = folder.with_name(f"renamed {self.renamed}")
            folder.rename(to)
            self.known[to] = known

    # what helps, and who reads

    @rule(which=ANY, point=st.sampled_from([0, 0, 3, 9]), lies=st.sampled_from([0, 0, 1]))
    def repair(self, which, point, lies):
        """What is put back is what was; a teacher that says something else changes nothing."""
        if not self.known:
            return
        folder = self.one(which)
        known = self.known[folder]
        before, damaged = all_bytes(folder), known.differing(folder)
        world = known.world if not lies else World(tuple(9 for _ in known.world.rows))
        lies = lies or known.made_elsewhere(damaged, HERE)
        chunks = {name for name in damaged if chunk_of(name)}
        try:
            with dying(point):
                repair(
                    folder,
                    known.plan,
                    lambda: partial(world.said, here=HERE),
                    HERE,
                    block_rows=ROWS,
                )
            refused = None
        except Died:
            refused = Died
        except RefkdError as error:
            refused = error
        event(f"repair: {len(damaged) > 0} damaged, refused by {refused and type(refused)}")
        now = all_bytes(folder)
        for name, data in now.items():  # a file is as it was, or as it must be
            assert data in (before.get(name), known.bytes.get(name)) or name.endswith(".tmp")
        if damaged & {MANIFEST, SEAL}:
            assert now == before
            assert refused is not None
        elif refused is None:
            assert not known.differing(folder)
            assert not (lies and chunks)
        else:
            assert refused is Died or (lies and "not what was recorded" in str(refused))

    @rule(which=ANY)
    def weigh(self, which):
        """Weights are those of what the cache must hold, or there are none."""
        if not self.known:
            return
        folder = self.one(which)
        known = self.known[folder]
        _, refusal = attempt(lambda: weigh(folder))
        if refusal:
            assert known.differing(folder), refusal
            event("weigh: refused")
            return
        weights = open_weights(open_cache(folder)).ce
        event("weigh: right")
        for name, logits in known.expected():
            np.testing.assert_allclose(
                weights[name], cross_entropy(logits, known.plan, name), 1e-5, 1e-6
            )

    # the machine's own

    def one(self, which):
        """The known cache of this number."""
        return sorted(self.known)[which % len(self.known)]

    def fill(self, plan, here, *, part=None):
        """Fill a cache with what the world says; return who was asked about which chunk."""
        asked, world = [], self.world

        def forward(array, lo, hi):
            asked.append((array, lo // ROWS))
            return world.said(array, lo, hi, here)

        fill(self.out, plan, lambda: forward, here, block_rows=ROWS, workers=1, part=part)
        return asked

    def learn(self, plan):
        """Take note of a cache that is there now, which must be right to the last byte."""
        folder = cache_folder(self.out, plan)
        if folder not in self.known:
            assert not damaged_files(read_cache(folder))
            whole = all_bytes(folder)
            listed = {*read_cache(folder).manifest["files"], MANIFEST, SEAL}
            assert set(whole) == listed
            arrays = read_cache(folder).manifest["arrays"]
            built = {name: facts["built"] for name, facts in arrays.items()}
            self.known[folder] = Known(plan, self.world, built, whole)
            self.look(folder)

    def look(self, folder):
        """Read a cache as students do, and in another way: it is right, or the damage is named."""
        known = self.known[folder]
        damaged = known.differing(folder)
        for name, logits in known.expected():
            for read in (stored_logits, lambda cache, name: cache.logits(name)):
                found, refusal = attempt(
                    lambda read=read, name=name: read(open_cache(folder), name)
                )
                if refusal:
                    assert damaged, refusal
                    event("read: refused")
                else:
                    assert found.tobytes() == logits.tobytes()
        if not damaged:
            assert open_cache(folder).ids == known.plan.samples.ids

    def held(self, here):
        """What each intact chunk of an intact cache that was made on such a machine answers."""
        held = set()
        for folder, known in self.known.items():
            damaged = known.differing(folder)
            if damaged & {MANIFEST, SEAL}:
                continue
            for file in known.bytes.keys() - damaged:
                found = chunk_of(file)
                if found and known.built[found[0]] == here:
                    held.add(self.identity(known.plan, *found))
        return held

    def identity(self, plan, array, chunk):
        """What a chunk answers: whose words, about which rows."""
        return (digest(plan.arrays[array].settings), plan.rows_of(array)[chunk])


def attempt(work):
    """Return what comes of some work, and the words with which it was refused, which tell a way out."""
    try:
        return work(), ""
    except RefkdError as error:
        text = str(error)
    assert any(way in text for way in WAYS_OUT), text
    return None, text


def describe(folder, known, lost):
    return "mended" if lost else "found whole" if folder in known else "new"


def spoil(folder, kind, name, other, place):
    """Damage a file in a folder, in place: others that have a link to it are damaged with it."""
    files = [file for file, held in all_bytes(folder).items() if held]
    if not files:
        return
    path = folder / files[name % len(files)]
    old = path.read_bytes()
    at = place % len(old)
    if kind == "lose":
        path.unlink()
    elif kind == "flip":
        path.write_bytes(old[:at] + bytes([old[at] ^ 4]) + old[at + 1 :])
    elif kind == "cut":
        path.write_bytes(old[:at])
    elif kind == "zero":
        path.write_bytes(bytes(len(old)))
    else:
        new = (folder / files[other % len(files)]).read_bytes()
        path.unlink()
        path.write_bytes(new)


def cross_entropy(logits, plan, array):
    """Of the first and last clip of each moment, in float64, [N, 2]."""
    view = array_parts(array)[1]
    gt_N2 = plan.samples.views.gt_VN2[view - 1] if view else plan.samples.gt_N2
    valid = np.arange(NUM_CLIPS) < plan.samples.clips_N[:, None, None]
    raised = np.where(valid, logits.astype(np.float64), -np.inf)
    log_sum = np.log(np.exp(raised).sum(axis=2))
    rows, sides = np.arange(NUM_ROWS)[:, None], np.arange(2)
    return log_sum - raised[rows, sides, gt_N2]


QUICK = settings(
    phases=(Phase.generate,),
    max_examples=20,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class TestCaches(Caches.TestCase):
    """Every cache, whatever befell it, is right or refused (a few hundred steps)."""

    settings = QUICK


class ManyMore(Caches):
    """The same machine, for longer."""


@pytest.mark.slow
class TestManyMore(ManyMore.TestCase):
    """Every cache, whatever befell it, is right or refused (thousands of steps)."""

    settings = settings(QUICK, max_examples=120, stateful_step_count=30)
