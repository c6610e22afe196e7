"""Atari games as deep Q-learning sees them (Mnih et al. 2015, Machado et al. 2018), without OpenCV.

One step of the environment is `frame_skip` frames of the game with the same action. The observation is one grey
picture: the maximum of the last two frames (sprites that are drawn every other frame stay visible), shrunk by averaging
areas. With rows A and columns B whose entries say what share of a new pixel each old one covers,

    seen = round(A max(last, one before) B^T).

Rewards are not clipped and pictures not stacked: both belong to who learns. A lost life is told in `info`, and does not
end the episode. The grey of a frame is the emulator's own, 0.299 R + 0.587 G + 0.114 B.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from jaxtyping import Float, Int, Shaped, UInt8

from ..core.errors import UserError

__all__ = ["Atari", "averaged", "edges", "make_atari"]

FIRE = "FIRE"


def make_atari(
    name: str,
    frame_skip: int = 4,
    noops: int = 30,
    fire: bool = False,
    repeat_action_probability: float = 0.25,
    size: int = 84,
    **options: Any,
) -> "Atari":
    """Return an Atari game by its Gymnasium id (`ALE/Pong-v5`), preprocessed.

    frame_skip: frames that an action is held. noops: at most this many idle frames at the start, at least one (none if
    0). fire: press FIRE for a step after them, where the game has it. repeat_action_probability: of a frame to go on
    with the action before (0.25 is the id's own, 0 that of the first papers). size: pixels a side. options: further
    ones of the emulator, such as `mode`, `difficulty` and `full_action_space`. Raises UserError if ale-py is not
    installed, for an unknown game and for numbers out of range.
    """
    if min(frame_skip, size) < 1 or noops < 0:
        raise UserError(f"{name} needs frame_skip and size of 1 or more and noops of 0 or more.")
    try:
        import ale_py
    except ImportError as error:
        raise UserError(f"The simulator of '{name}' is not installed; run: pip install 'weft[atari]'.") from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    emulator = {"frameskip": 1, "repeat_action_probability": repeat_action_probability, **options}
    try:
        env = gymnasium.make(name, disable_env_checker=True, **emulator)
    except gymnasium.error.Error as error:
        raise UserError(f"Gymnasium has no environment '{name}': {str(error).splitlines()[0]}") from error
    frames = (env.spec.kwargs if env.spec is not None else {}).get("max_num_frames_per_episode")
    game = Atari(env.unwrapped, frame_skip, noops, fire, size)
    settings = {"frame_skip": frame_skip, "noops": noops, "fire": fire, "size": size}
    settings = {**settings, "repeat_action_probability": repeat_action_probability, **options}
    longest = None if frames is None else -(-frames // frame_skip)
    game.spec = EnvSpec(
        name, "weft.envs.atari:make_atari", max_episode_steps=longest, kwargs={"name": name, **settings}
    )
    return game


class Atari(gymnasium.Env):
    """One game with the preprocessing; `make_atari` makes it.

    Observations are `(size, size)` uint8, actions the game's own, counted from 0. `reset(seed=)` fixes all chance of
    the episodes that follow. `info` has `lives` and `life_lost`: whether one was lost in this step.
    """

    def __init__(self, env: Any, frame_skip: int, noops: int, fire: bool, size: int) -> None:
        self.env, self.ale = env, env.ale
        self.frame_skip, self.noops = frame_skip, noops
        height, width = self.ale.getScreenDims()
        self.rows, self.columns = edges(height, size), edges(width, size)
        self.area = height * width / size**2
        self.frames = np.zeros((2, height, width), np.uint8)
        self.moves, meanings = env._action_set, env.get_action_meanings()
        self.fire = meanings.index(FIRE) if fire and FIRE in meanings else None
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size), np.uint8)
        self.action_space = env.action_space
        self.lives = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; one of the same seed is the same episode for the same actions."""
        self.env.reset(seed=seed, options=options)
        self._idle()
        self.lives = self.ale.lives()
        self.ale.getScreenGrayscale(self.frames[0])
        seen = self._shrunk(self.frames[0])
        if self.fire is not None:
            seen, _, over, late, _ = self.step(self.fire)
            if over or late:
                self.ale.reset_game()
            self.lives = self.ale.lives()
        return seen, self._info(False)

    def _idle(self) -> None:
        count = self.env.np_random.integers(1, self.noops + 1) if self.noops else 0
        for _ in range(count):
            self.ale.act(self.moves[0], 1.0)
            if self.ale.game_over():
                self.ale.reset_game()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Hold an action; the third answer is the end of the game, the fourth the emulator's limit on frames."""
        move, reward, over, late, time = self.moves[int(action)], 0.0, False, False, 0
        for time in range(self.frame_skip):
            reward += self.ale.act(move, 1.0)
            over, late = self.ale.game_over(with_truncation=False), self.ale.game_truncated()
            if over or late or time >= self.frame_skip - 2:
                self.ale.getScreenGrayscale(self.frames[time % 2])
            if over or late:
                break
        whole = 0 < time == self.frame_skip - 1  # the frame before an early end was not drawn
        seen = self._shrunk(self.frames.max(0) if whole else self.frames[time % 2])
        lives, before = self.ale.lives(), self.lives
        self.lives = lives
        return seen, float(reward), bool(over), bool(late and not over), self._info(lives < before)

    def render(self) -> np.ndarray:
        """Return the game's screen in colours, `(height, width, 3)` uint8."""
        return self.ale.getScreenRGB()

    def close(self) -> None:
        """Close the game."""
        self.env.close()

    def _shrunk(self, frame: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "size size"]:
        narrow = averaged(averaged(frame, *self.rows).T, *self.columns).T
        return np.rint(narrow / self.area).astype(np.uint8)

    def _info(self, lost: bool) -> dict[str, Any]:
        return {"lives": self.lives, "life_lost": lost, "episode_frame_number": self.ale.getEpisodeFrameNumber()}


def averaged(
    values: Shaped[np.ndarray, "old other"], places: Int[np.ndarray, "edge"], shares: Float[np.ndarray, "edge one"]
) -> Float[np.ndarray, "new other"]:
    """Return sums of `old` rows between edges, rows that an edge cuts by their share; see `edges`.

    Running sums, not a matrix product: the product of so small matrices waits for BLAS's threads on a busy machine (34
    ms a frame on two shared cores).
    """
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, np.float64)])
    at = running[places] * (1.0 - shares) + running[np.minimum(places + 1, len(values))] * shares
    return np.diff(at, axis=0)


def edges(old: int, new: int) -> tuple[Int[np.ndarray, "edge"], Float[np.ndarray, "edge one"]]:
    """Return where `new` pixels of equal width begin and end among `old` ones: whole pixels before, and the share."""
    at = np.arange(new + 1) * old / new
    places = np.minimum(np.floor(at).astype(int), old)
    return places, (at - places)[:, None]
