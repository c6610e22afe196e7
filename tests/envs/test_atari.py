"""Atari: the preprocessing is Gymnasium's frame by frame, and does what the paper says."""

import time

import gymnasium
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.envs.atari import Atari, averaged, edges, make_atari
from weft.envs.rollout import rollout

STEPS = 200


@pytest.fixture(scope="module")
def emulator():
    return pytest.importorskip("ale_py", reason="needs ale-py: pip install 'weft[atari]'")


def peer(emulator, name, **options):
    pytest.importorskip("cv2", reason="Gymnasium's preprocessing needs opencv-python-headless")
    gymnasium.register_envs(emulator)
    return gymnasium.wrappers.AtariPreprocessing(gymnasium.make(name, frameskip=1, **options))


@pytest.mark.parametrize("name", ["ALE/Pong-v5", "ALE/Breakout-v5"])
def test_every_frame_is_gymnasiums(emulator, name):
    ours, theirs = make_atari(name), peer(emulator, name)
    generator = np.random.default_rng(0)
    seen, known = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    pairs, rewards, over = [(seen, known)], [], False
    for _ in range(STEPS):
        action = int(generator.integers(ours.action_space.n))
        seen, reward, over, late, info = ours.step(action)
        known, pay, end, cut, facts = theirs.step(action)
        assert (reward, over, late) == (pay, end, cut)
        assert info["lives"] == facts["lives"]
        rewards.append(reward)
        if over:  # Gymnasium's picture of an early end is that of the step before
            break
        pairs.append((seen, known))
    assert len(pairs) > 100
    assert any(rewards)
    differences = np.array([np.abs(seen.astype(int) - known).astype(int) for seen, known in pairs])
    assert all(seen.dtype == np.uint8 and seen.shape == (84, 84) for seen, _ in pairs)
    print(f"{name}: {len(pairs)} frames, {(differences > 0).mean():.3%} of pixels differ, at most {differences.max()}")
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.001
    ours.close()
    theirs.close()


def test_the_greys_are_those_of_luminance(emulator):
    game = make_atari("ALE/Pong-v5")
    game.reset(seed=0)
    screen, grey = game.render(), game.ale.getScreenGrayscale()
    np.testing.assert_allclose(grey, np.rint(screen @ np.array([0.299, 0.587, 0.114])), atol=1)
    assert len(np.unique(grey)) > 2


def averaging(old, new):
    """The matrix that averages `old` pixels in a row to `new` ones by area."""
    return averaged(np.eye(old), *edges(old, new)) * new / old


@pytest.mark.parametrize(("old", "new"), [(210, 84), (160, 84), (250, 84), (7, 7)])
def test_averaging_keeps_what_is_even_and_shares_what_is_not(old, new):
    matrix = averaging(old, new)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(matrix.sum(0), new / old, atol=1e-6)  # every old pixel counts the same
    places = (matrix * np.arange(old)).sum(1)
    np.testing.assert_allclose(places, (np.arange(new) + 0.5) * old / new - 0.5, atol=0.26)


def test_averaging_by_hand():
    np.testing.assert_allclose(averaging(5, 2), [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]], atol=1e-7)


class Fake:
    """A game by a rule: `draw(frame number)` gives its picture, `lives_at` how many lives are left."""

    def __init__(self, draw, lives_at=lambda frame: 3, length=10**9, limit=10**9):
        self.ale, self.frame, self.draw, self.lives_at = self, 0, draw, lives_at
        self.length, self.limit, self.pressed = length, limit, []
        self._action_set, self.action_space = [0, 1, 2], gymnasium.spaces.Discrete(3)
        self.np_random = np.random.default_rng(0)

    def reset(self, seed=None, options=None):
        self.np_random = np.random.default_rng(seed)
        self.reset_game()

    def reset_game(self):
        self.frame = 0

    def act(self, action, strength):
        self.pressed.append(action)
        self.frame += 1
        return 1.0

    def game_over(self, with_truncation=True):
        return self.frame >= self.length or (with_truncation and self.game_truncated())

    def game_truncated(self):
        return self.frame >= self.limit

    def getScreenDims(self):
        return 8, 8

    def getScreenGrayscale(self, out):
        out[:] = self.draw(self.frame)

    def lives(self):
        return self.lives_at(self.frame)

    def getEpisodeFrameNumber(self):
        return self.frame

    def get_action_meanings(self):
        return ["NOOP", "FIRE", "RIGHT"]


def flicker(frame):
    """A sprite on even frames only, a bright number of the frame elsewhere."""
    picture = np.full((8, 8), frame, np.uint8)
    picture[2:4, 2:4] = 200 if frame % 2 == 0 else 0
    return picture


@pytest.mark.parametrize("skip", [2, 3, 4, 5])
def test_a_sprite_on_even_frames_stays_visible(skip):
    game = Atari(Fake(flicker), skip, 0, False, 8)
    game.reset(seed=0)
    for step in range(1, 7):
        seen, reward, *_ = game.step(2)
        assert (seen[2:4, 2:4] == 200).all()
        assert seen[0, 0] == step * skip  # the rest is the last frame
        assert reward == skip


def test_without_skipping_every_frame_is_seen_alone():
    game = Atari(Fake(flicker), 1, 0, False, 8)
    game.reset(seed=0)
    assert [int(game.step(2)[0][2, 2]) for _ in range(4)] == [0, 200, 0, 200]


def test_pictures_are_shrunk_by_area():
    game = Atari(Fake(lambda frame: np.arange(64).reshape(8, 8)), 4, 0, False, 4)
    known = np.arange(64).reshape(4, 2, 4, 2).mean((1, 3))
    np.testing.assert_array_equal(game.reset(seed=0)[0], np.rint(known))


def test_a_lost_life_is_told_and_ends_nothing():
    game = Atari(Fake(flicker, lambda frame: 3 - (frame >= 6) - (frame >= 13)), 4, 0, False, 8)
    _, info = game.reset(seed=0)
    assert (info["lives"], info["life_lost"]) == (3, False)
    found = [game.step(0) for _ in range(4)]
    assert [info["life_lost"] for *_, info in found] == [False, True, False, True]
    assert [info["lives"] for *_, info in found] == [3, 2, 2, 1]
    assert not any(over or late for _, _, over, late, _ in found)


def test_a_life_is_lost_in_breakout(emulator):
    game = make_atari("ALE/Breakout-v5", fire=True)
    game.reset(seed=0)
    lost = []
    for _ in range(120):
        _, _, over, _, info = game.step(1)
        lost.append(info["life_lost"])
        if over:
            break
    lives = 5 - info["lives"]
    assert sum(lost) == lives > 0
    assert over == (lives == 5)
    game.close()


def test_the_end_and_the_limit_are_kept_apart():
    for length, limit, known in ((6, 99, (True, False)), (99, 6, (False, True)), (6, 6, (True, False))):
        game = Atari(Fake(flicker, length=length, limit=limit), 4, 0, False, 8)
        game.reset(seed=0)
        assert game.step(0)[2:4] == (False, False)
        seen, reward, over, late, _ = game.step(0)
        assert (over, late) == known
        assert reward == 2.0  # frames 5 and 6
        assert seen[0, 0] == 6  # what was last seen


def test_idle_frames_and_fire_begin_an_episode():
    fake = Fake(flicker)
    idle = []
    for seed in range(200):
        fake.pressed = []
        Atari(fake, 4, 30, True, 8).reset(seed=seed)
        assert fake.pressed[-4:] == [1] * 4
        assert set(fake.pressed[:-4]) == {0}
        idle.append(len(fake.pressed) - 4)
    assert (min(idle), max(idle)) == (1, 30)
    fake.pressed = []
    Atari(fake, 4, 0, False, 8).reset(seed=0)
    assert fake.pressed == []


def test_a_seed_is_an_episode_whatever_came_before(emulator):
    game, other = make_atari("ALE/Pong-v5"), make_atari("ALE/Pong-v5")
    actions = np.random.default_rng(0).integers(0, 6, 60)

    def play(game, seed):
        seen = [game.reset(seed=seed)[0]]
        return np.stack(seen + [game.step(action)[0] for action in actions])

    first = play(game, 5)
    assert (play(game, 6) != first).any()
    np.testing.assert_array_equal(play(game, 5), first)
    np.testing.assert_array_equal(play(other, 5), first)
    follower = game.reset()[0]
    np.testing.assert_array_equal(other.reset()[0], follower)
    game.close()
    other.close()


def test_a_policy_acts_in_a_game_by_its_id(emulator):
    # nobody plays: Pong is lost 0 to 21
    assert rollout(lambda seen: np.zeros(len(seen), np.int32), "ALE/Pong-v5", 1)[0] == -21.0


def test_mistakes_are_named(emulator):
    with pytest.raises(UserError, match=r"Gymnasium has no environment 'ALE/Pnog-v5'.*Pong"):
        rollout(lambda seen: np.zeros(len(seen), np.int32), "ALE/Pnog-v5", 1)
    with pytest.raises(UserError, match="frame_skip and size of 1 or more"):
        make_atari("ALE/Pong-v5", frame_skip=0)


@pytest.mark.slow
def test_it_keeps_up_with_gymnasiums(emulator):
    rates = {}
    for name, game in (("weft", make_atari("ALE/Pong-v5")), ("gymnasium", peer(emulator, "ALE/Pong-v5"))):
        game.reset(seed=0)
        begin = time.perf_counter()
        for _ in range(1500):
            _, _, over, late, _ = game.step(game.action_space.sample())
            if over or late:
                game.reset()
        rates[name] = 1500 / (time.perf_counter() - begin)
        game.close()
    print(", ".join(f"{name} {rate:,.0f} steps/s" for name, rate in rates.items()))
    assert rates["weft"] > 0.8 * rates["gymnasium"]
