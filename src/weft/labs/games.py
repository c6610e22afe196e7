"""Board games of two players who take turns, played many at a time inside compiled programs (the rules are pgx's).

Everything is told from the view of the player to move: what is seen (`game.seen`: own stones, then the other's) and
what it is worth, so that values and results change sign at every ply. A **Player** chooses for a batch of positions; a
choice that is not legal is never made. `play_match` says how one player does against another. `solution` is
tic-tac-toe, solved.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..core.errors import UserError, nearest
from ..core.pytree import require, static
from ..nn.dense import MLP

__all__ = [
    "Game",
    "Lookahead",
    "Match",
    "NetworkPlayer",
    "Perfect",
    "Player",
    "Random",
    "Record",
    "Solution",
    "ValuePlayer",
    "masked",
    "play_match",
    "solution",
    "unfold",
]

LONGEST = {"connect_four": 42, "tic_tac_toe": 9}
ILLEGAL = -1e9
Positions = PyTree


class Game(eqx.Module):
    """One game by its name in pgx: `tic_tac_toe` or `connect_four`. Positions are PyTrees with a leading axis of games.

    Raises UserError for a name that is not known and where pgx is not installed.
    """

    name: str = static()

    def __check_init__(self) -> None:
        names = ", ".join(LONGEST)
        require(self.name in LONGEST, f"There is no game '{self.name}'.{nearest(self.name, LONGEST)} Known: {names}.")
        _rules(self.name)

    @property
    def longest(self) -> int:
        """Plies after which every game is over."""
        return LONGEST[self.name]

    @property
    def choices(self) -> int:
        """Number of moves, legal or not."""
        return _rules(self.name).num_actions

    @property
    def features(self) -> int:
        """Numbers that are seen of a position."""
        return math.prod(_rules(self.name).observation_shape)

    def start(self, key: PRNGKeyArray, games: int) -> Positions:
        """Return the first positions of some games."""
        return jax.vmap(_rules(self.name).init)(jax.random.split(key, games))

    def step(self, positions: Positions, action: Int[Array, "game"]) -> Positions:
        """Return the positions after one move in each game; a game that is over stays as it is."""
        return jax.vmap(_rules(self.name).step)(positions, action)

    def seen(self, positions: Positions) -> Bool[Array, "game feature"]:
        """Return what the player to move sees: where the own stones are, and the other's, cell by cell."""
        return jnp.reshape(positions.observation, (positions.observation.shape[0], -1))

    def after(self, positions: Positions, action: Int[Array, "game"]) -> tuple[Positions, Float[Array, "game"]]:
        """Return the positions after one move in each game, and its results for who made it: 0 while a game goes on."""
        following = self.step(positions, action)
        return following, jnp.take_along_axis(following.rewards, positions.current_player[:, None], axis=1)[:, 0]

    def every(self, positions: Positions) -> tuple[Positions, Float[Array, "choice game"]]:
        """Return what `after` returns for every move, along a new first axis; those of illegal moves mean nothing."""
        games = positions.terminated.shape[0]
        return jax.vmap(lambda action: self.after(positions, jnp.full(games, action)))(jnp.arange(self.choices))


@functools.cache
def _rules(name: str) -> Any:
    try:
        # What the first import computes must not become part of a program that happens to be traced.
        with jax.ensure_compile_time_eval():
            import pgx

            return pgx.make(name)  # type: ignore[arg-type]
    except ImportError:
        raise UserError("The games are not installed; run: pip install 'weft[games]'.") from None


def masked(
    logits: Float[Array, "... choice"] | Float[Array, ""], legal: Bool[Array, "... choice"]
) -> Float[Array, "... choice"]:
    """Return logits, or one for all moves, whose softmax gives illegal moves exactly 0."""
    return jnp.where(legal, logits, ILLEGAL)


# --- players --------------------------------------------------------------------------------------------------------


class Player(eqx.Module):
    """A way of choosing one legal move in each of many positions."""

    @abc.abstractmethod
    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        """Return the moves."""


class Random(Player):
    """Every legal move is as likely as every other."""

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        del game
        return jax.random.categorical(key, masked(jnp.zeros(()), positions.legal_action_mask))


class NetworkPlayer(Player):
    """Draws from a policy network over legal moves; takes the likeliest where `greedy`."""

    network: MLP
    greedy: bool = static(default=False)

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        logits = masked(self.network(game.seen(positions).astype(jnp.float32)), positions.legal_action_mask)
        return logits.argmax(-1) if self.greedy else jax.random.categorical(key, logits)


class ValuePlayer(Player):
    """Looks one ply ahead and takes the move after which a value network likes the other's position least."""

    network: MLP

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        del key
        following, result = game.every(positions)
        value = jnp.tanh(self.network(jax.vmap(game.seen)(following).astype(jnp.float32)))[..., 0]
        worth = jnp.where(following.terminated, result, -value)
        return masked(worth.T, positions.legal_action_mask).argmax(-1)


class Lookahead(Player):
    """Wins if one move can, else keeps the other from winning with the next, else plays at random.

    `mistakes` is the chance that a move is drawn from all legal ones instead.
    """

    mistakes: float = 0.0

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        following, result = game.every(positions)
        _, reply = jax.vmap(game.every)(following)
        answers = jnp.moveaxis(following.legal_action_mask, -1, 1)  # choice, reply, game
        threatened = ((reply > 0) & answers).any(1) & ~following.terminated
        liking = jnp.where(result > 0, 2.0, jnp.where(threatened, 0.0, 1.0)).T
        return _among(liking, positions.legal_action_mask, self.mistakes, key)


class Perfect(Player):
    """Plays tic-tac-toe without a fault: any of the moves that are best against a perfect answer.

    `mistakes` is the chance that a move is drawn from all legal ones instead.
    """

    mistakes: float = 0.0

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        require(game.name == "tic_tac_toe", f"Only tic_tac_toe is solved, not {game.name}.")
        best = jnp.asarray(solution().best)[code(game.seen(positions))]
        return _among(best.astype(jnp.float32), positions.legal_action_mask, self.mistakes, key)


def _among(
    liking: Float[Array, "game choice"], legal: Bool[Array, "game choice"], mistakes: Any, key: PRNGKeyArray
) -> Int[Array, "game"]:
    """Draw one of the legal moves that are liked best; any legal one, with a chance of `mistakes`."""
    mistake_key, choice_key = jax.random.split(key)
    scores = masked(liking, legal)
    best = scores >= scores.max(-1, keepdims=True)
    mistaken = jax.random.bernoulli(mistake_key, mistakes, legal.shape[:1])
    return jax.random.categorical(choice_key, masked(jnp.zeros(()), jnp.where(mistaken[:, None], legal, best & legal)))


# --- games ----------------------------------------------------------------------------------------------------------


class Record(eqx.Module):
    """Games as they were played. `alive` says which plies were; `result` is 1, 0 or −1 for who moved first."""

    seen: Bool[Array, "ply game feature"]
    legal: Bool[Array, "ply game choice"]
    action: Int[Array, "ply game"]
    alive: Bool[Array, "ply game"]
    result: Float[Array, "game"]

    def outcomes(self) -> Float[Array, "ply game"]:
        """Return the results from the view of who is to move: +1 and −1 take turns."""
        sign = 1.0 - 2.0 * (jnp.arange(self.alive.shape[0]) % 2)
        return sign[:, None] * self.result


def unfold(
    game: Game,
    choose: Callable[[Int[Array, ""], Positions, PRNGKeyArray], Int[Array, "game"]],
    games: int,
    key: PRNGKeyArray,
) -> Record:
    """Play games to their ends; `choose(ply, positions, key)` gives the moves of a ply."""
    start_key, play_key = jax.random.split(key)
    positions = game.start(start_key, games)
    blank = Record(
        jnp.zeros((game.longest, games, game.features), bool),
        jnp.zeros((game.longest, games, game.choices), bool),
        jnp.zeros((game.longest, games), jnp.int32),
        jnp.zeros((game.longest, games), bool),
        jnp.zeros(games),
    )

    def going(carry: tuple[Array, Positions, Record]) -> Array:
        ply, positions, _ = carry
        return (ply < game.longest) & ~positions.terminated.all()

    def play(carry: tuple[Array, Positions, Record]) -> tuple[Array, Positions, Record]:
        ply, positions, record = carry
        action = choose(ply, positions, jax.random.fold_in(play_key, ply)).astype(jnp.int32)
        alive = ~positions.terminated
        following, result = game.after(positions, action)
        sign = 1.0 - 2.0 * (ply % 2)
        record = Record(
            record.seen.at[ply].set(game.seen(positions)),
            record.legal.at[ply].set(positions.legal_action_mask),
            record.action.at[ply].set(action),
            record.alive.at[ply].set(alive),
            record.result + jnp.where(alive, sign * result, 0.0),
        )
        return ply + 1, following, record

    return jax.lax.while_loop(going, play, (jnp.int32(0), positions, blank))[2]


def versus(
    game: Game, first: Player, second: Player
) -> Callable[[Int[Array, ""], Positions, PRNGKeyArray], Int[Array, "game"]]:
    """Return the `choose` of `unfold` for two players who take turns."""

    def choose(ply: Array, positions: Positions, key: PRNGKeyArray) -> Array:
        def turn(player: Player) -> Callable[[Positions, PRNGKeyArray], Array]:
            return lambda positions, key: player(game, positions, key).astype(jnp.int32)

        return jax.lax.cond(ply % 2 == 0, turn(first), turn(second), positions, key)

    return choose


@dataclasses.dataclass(frozen=True)
class Match:
    """How one player did against another: wins, draws and losses in the games it began, and in those it did not."""

    first: tuple[int, int, int]
    second: tuple[int, int, int]

    @property
    def wins(self) -> int:
        """Games won."""
        return self.first[0] + self.second[0]

    @property
    def draws(self) -> int:
        """Games drawn."""
        return self.first[1] + self.second[1]

    @property
    def losses(self) -> int:
        """Games lost."""
        return self.first[2] + self.second[2]

    @property
    def games(self) -> int:
        """Games played."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Share of the points: 1 for a win, ½ for a draw."""
        return (self.wins + 0.5 * self.draws) / self.games

    @property
    def interval(self) -> tuple[float, float]:
        """The score's 95 % interval (Wilson 1927). Draws make it too wide: no score between 0 and 1 varies more."""
        return _wilson(self.score, self.games)

    @property
    def decided(self) -> tuple[float, float]:
        """The 95 % interval of the share of wins among the games that were not drawn; (0, 1) where there are none.

        Where nearly all games are drawn it tells who is better, while the score is close to a half.
        """
        games = self.wins + self.losses
        return _wilson(self.wins / games, games) if games else (0.0, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.wins} won, {self.draws} drawn, {self.losses} lost: {self.score:.3f} ({low:.3f} to {high:.3f})"


def _wilson(share: float, games: int) -> tuple[float, float]:
    square = 1.959964**2
    middle = (share + square / (2 * games)) / (1 + square / games)
    half = math.sqrt(square * share * (1 - share) / games + (square / (2 * games)) ** 2) / (1 + square / games)
    return middle - half, middle + half


@partial(jax.jit, static_argnames="games")
def _results(game: Game, first: Player, second: Player, games: int, key: PRNGKeyArray) -> Float[Array, "game"]:
    return unfold(game, versus(game, first, second), games, key).result


def play_match(game: Game, one: Player, two: Player, games: int, seed: int = 0) -> Match:
    """Let `one` play `two`, and begin every second game. Raises UserError for an odd or too small number of games."""
    require(games >= 2 and games % 2 == 0, f"A match is an even number of games, at least 2, got {games}.")
    first_key, second_key = jax.random.split(jax.random.key(seed))
    begun = np.asarray(_results(game, one, two, games // 2, first_key))
    answered = -np.asarray(_results(game, two, one, games // 2, second_key))
    return Match(_counted(begun), _counted(answered))


def _counted(results: np.ndarray) -> tuple[int, int, int]:
    won, drawn, lost = (int((results == result).sum()) for result in (1, 0, -1))
    return won, drawn, lost


# --- tic-tac-toe, solved --------------------------------------------------------------------------------------------

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
Board = tuple[int, ...]  # nine cells: 0 empty, 1 of the player to move, 2 of the other


@dataclasses.dataclass(frozen=True)
class Solution:
    """Tic-tac-toe by the code of a position (`code`): its value for the player to move, and which moves are best.

    `reachable` says which of the 3⁹ codes can come up at all: 5478.
    """

    value: np.ndarray
    best: np.ndarray
    reachable: np.ndarray


def code(seen: Bool[Array, "... 18"]) -> Int[Array, "..."]:
    """Return the number of a tic-tac-toe position: cell i counts 3^i if it is the mover's, 2 · 3^i if the other's."""
    cells = seen.reshape(*seen.shape[:-1], 9, 2)
    return (cells * (jnp.array([1, 2]) * 3 ** jnp.arange(9)[:, None])).sum((-2, -1))


@functools.cache
def solution() -> Solution:
    """Return the solution, by the minimax of every reachable position."""
    value, best, reachable = np.zeros(3**9), np.zeros((3**9, 9), bool), np.zeros(3**9, bool)

    def solve(board: Board) -> float:
        number = sum(cell * 3**place for place, cell in enumerate(board))
        if reachable[number]:
            return value[number]
        reachable[number] = True
        if any(all(board[place] == 2 for place in line) for line in LINES):
            value[number] = -1.0  # the other has just completed a line
        elif 0 in board:
            worth = {place: -solve(moved(board, place)) for place, cell in enumerate(board) if cell == 0}
            value[number] = max(worth.values())
            best[number, [place for place, found in worth.items() if found == value[number]]] = True
        return value[number]

    solve((0,) * 9)
    return Solution(value, best, reachable)


def moved(board: Board, place: int) -> Board:
    """Return the board after a move, as the other sees it."""
    return tuple((0, 2, 1)[1 if at == place else cell] for at, cell in enumerate(board))
