r"""AlphaGo's recipe (Silver et al. 2016, "Mastering the game of Go with deep neural networks and tree search"): from
games of an expert to a policy, from that by self-play to a better one and to a value network, and to a search.

    supervised         L = -E[ log p(a | s) ]                        over the moves of an expert
    policy gradient    g = E[ sum_t (z_t - b) d log p(a_t | s_t) ]   z_t = +1 or -1: how it ended for who moved at t
    value              L = E[ (v(s) - z)^2 ]                         one position of each game of self-play
    search             a = argmax Q(s, a) + c P(s, a) sqrt(N(s)) / (1 + N(s, a)),   V(leaf) = (1 - m) v + m z_rollout

The opponent of the policy gradient is drawn uniformly from earlier snapshots, so that it does not learn to beat itself
alone; b is the mean result of the batch. Moves that are not legal are masked before the softmax. A leaf at which the
game is over is worth its true result, never the network's; the move that was tried most often is played (mctx).

Differs from the reference: fully connected networks on the stones alone, Adam, roll-outs of random legal moves, and a
supervised stage on games of a program that makes mistakes.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core.errors import UserError
from ..core.pytree import require, static
from ..nn.dense import MLP, mlp
from ..nn.distributions import pick
from ..nn.optimise import Learner, descend, learner
from .games import (
    ILLEGAL,
    Game,
    Lookahead,
    NetworkPlayer,
    Perfect,
    Player,
    Positions,
    Random,
    Record,
    masked,
    unfold,
    versus,
)

__all__ = [
    "Learned",
    "Recipe",
    "SearchPlayer",
    "expert",
    "expert_games",
    "learn",
    "policy_gradient",
    "supervised",
    "value_network",
    "value_positions",
]


# --- supervised -----------------------------------------------------------------------------------------------------


def expert(game: Game, mistakes: float) -> Player:
    """Return who is imitated: perfect play in tic-tac-toe, else two plies of look-ahead; both make mistakes."""
    return Perfect(mistakes) if game.name == "tic_tac_toe" else Lookahead(mistakes)


@partial(jax.jit, static_argnames="games")
def expert_games(game: Game, teacher: Player, games: int, key: PRNGKeyArray) -> Record:
    """Return games of a player against itself."""
    return unfold(game, versus(game, teacher, teacher), games, key)


@partial(jax.jit, static_argnames=("steps", "hidden", "batch"))
def supervised(
    game: Game,
    record: Record,
    key: PRNGKeyArray,
    steps: int = 2000,
    learning_rate: Float[Array, ""] | float = 1e-3,
    hidden: tuple[int, ...] = (128, 128),
    batch: int = 256,
) -> tuple[MLP, Float[Array, "step"]]:
    """Return a policy network that imitates recorded moves, and its cross-entropies."""
    init_key, draw_key = jax.random.split(key)
    seen, legal, action, alive = (
        part.reshape(-1, *part.shape[2:]) for part in (record.seen, record.legal, record.action, record.alive)
    )
    adam = optax.adam(learning_rate)

    def step(state: Learner, number: Array) -> tuple[Learner, Array]:
        rows = _drawn(alive, batch, jax.random.fold_in(draw_key, number))

        def loss(network: MLP) -> Array:
            return -jnp.mean(log_probability(network, seen[rows], legal[rows], action[rows]))

        return descend(state, adam, loss)

    start = learner(mlp(init_key, (game.features, *hidden, game.choices), 1e-2), adam)
    state, losses = jax.lax.scan(step, start, jnp.arange(steps))
    return state.model, losses


def _drawn(usable: Bool[Array, "row"], batch: int, key: PRNGKeyArray) -> Int[Array, "batch"]:
    """Draw rows among those that may be used, with replacement."""
    first = jnp.argsort(~usable, stable=True)
    return first[jax.random.randint(key, (batch,), 0, usable.sum())]


def log_probability(
    network: MLP, seen: Bool[Array, "... feature"], legal: Bool[Array, "... choice"], action: Int[Array, "..."]
) -> Float[Array, "..."]:
    """Return log p(a | s) of a policy network over legal moves."""
    return pick(jax.nn.log_softmax(masked(network(seen.astype(jnp.float32)), legal)), action)


# --- policy gradient ------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("rounds", "games", "snapshot_every"))
def policy_gradient(
    game: Game,
    network: MLP,
    key: PRNGKeyArray,
    rounds: int = 500,
    games: int = 128,
    learning_rate: Float[Array, ""] | float = 3e-4,
    snapshot_every: int = 25,
) -> tuple[MLP, Float[Array, "round"]]:
    """Improve a policy network by games against earlier snapshots of itself; return it and its mean results.

    A round is `games` games against one snapshot, half of them begun by it. The pool starts with the given network;
    every `snapshot_every` rounds the one of then joins it.
    """
    adam = optax.adam(learning_rate)
    places = -(-rounds // snapshot_every)
    pool = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (places, *leaf.shape)), network)

    def step(carry: tuple[Learner, MLP], number: Array) -> tuple[tuple[Learner, MLP], Array]:
        state, pool = carry
        newest, due = number // snapshot_every, number % snapshot_every == 0
        pool = jax.tree.map(
            lambda kept, leaf: kept.at[newest].set(jnp.where(due, leaf, kept[newest])), pool, state.model
        )
        draw_key, first_key, second_key = jax.random.split(jax.random.fold_in(key, number), 3)
        drawn = jax.random.randint(draw_key, (), 0, newest + 1)
        opponent = NetworkPlayer(jax.tree.map(lambda leaf: leaf[drawn], pool))
        own = NetworkPlayer(state.model)
        begun = unfold(game, versus(game, own, opponent), games // 2, first_key)
        answered = unfold(game, versus(game, opponent, own), games // 2, second_key)

        def loss(network: MLP) -> Array:
            return _reinforce(network, begun, 0) + _reinforce(network, answered, 1)

        state, _ = descend(state, adam, loss)
        return (state, pool), (begun.result.mean() - answered.result.mean()) / 2

    (state, _), results = jax.lax.scan(step, (learner(network, adam), pool), jnp.arange(rounds))
    return state.model, results


def _reinforce(network: MLP, record: Record, turn: int) -> Float[Array, ""]:
    """Return −Σ (z − b) log p of the moves of one side, per game."""
    seen, legal, action, alive, result = (
        part[turn::2] for part in (record.seen, record.legal, record.action, record.alive, record.outcomes())
    )
    gain = jnp.where(alive, result - result[0].mean(), 0.0)
    return -(gain * log_probability(network, seen, legal, action)).sum(0).mean()


# --- value ----------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="games")
def value_positions(
    game: Game, before: Player, after: Player, games: int, key: PRNGKeyArray
) -> tuple[Bool[Array, "game feature"], Float[Array, "game"], Bool[Array, "game"]]:
    """Return one position of each game, its result for who is to move, and whether the game came so far.

    A ply is drawn for each game; `before` plays up to it, the move there is a random one, and `after` ends the game
    (Silver et al. 2016, methods). The position is the one after the random move: several positions of a game would
    differ by little and share their result.
    """
    ply_key, play_key = jax.random.split(key)
    turn = jax.random.randint(ply_key, (games,), -1, game.longest - 1)  # −1: the empty board, and no random move

    def choose(ply: Array, positions: Positions, key: PRNGKeyArray) -> Array:
        keys = jax.random.split(key, 3)
        early, chance, late = (
            player(game, positions, key) for player, key in zip((before, Random(), after), keys, strict=True)
        )
        return jnp.where(ply < turn, early, jnp.where(ply == turn, chance, late))

    record = unfold(game, choose, games, play_key)
    here = (turn + 1, jnp.arange(games))
    return record.seen[here], record.outcomes()[here], record.alive[here]


@partial(jax.jit, static_argnames=("steps", "hidden", "batch"))
def value_network(
    seen: Bool[Array, "row feature"],
    result: Float[Array, "row"],
    known: Bool[Array, "row"],
    key: PRNGKeyArray,
    steps: int = 2000,
    learning_rate: Float[Array, ""] | float = 1e-3,
    hidden: tuple[int, ...] = (128, 128),
    batch: int = 256,
) -> tuple[MLP, Float[Array, "step"]]:
    """Return a network whose tanh is the value of a position for who is to move, and its squared errors."""
    init_key, draw_key = jax.random.split(key)
    adam = optax.adam(learning_rate)

    def step(state: Learner, number: Array) -> tuple[Learner, Array]:
        rows = _drawn(known, batch, jax.random.fold_in(draw_key, number))
        return descend(state, adam, lambda network: jnp.mean(jnp.square(worth(network, seen[rows]) - result[rows])))

    start = learner(mlp(init_key, (seen.shape[-1], *hidden, 1), 1e-2), adam)
    state, losses = jax.lax.scan(step, start, jnp.arange(steps))
    return state.model, losses


def worth(network: MLP, seen: Bool[Array, "... feature"]) -> Float[Array, "..."]:
    """Return the value of positions for who is to move, in (−1, 1)."""
    return jnp.tanh(network(seen.astype(jnp.float32)))[..., 0]


# --- search ---------------------------------------------------------------------------------------------------------


def _mctx() -> Any:
    try:
        with jax.ensure_compile_time_eval():
            import mctx

            return mctx
    except ImportError:
        raise UserError("The tree search is not installed; run: pip install 'weft[games]'.") from None


class SearchPlayer(Player):
    """Searches with the true rules and plays the move that was tried most often, or one that wins at once.

    policy: gives the prior P; every legal move has the same without one. value: v of a leaf, 0 without one. mixing: the
    share m of a leaf's value that is the mean result of `rollouts` games of random moves from there. exploration: c.
    """

    policy: MLP | None = None
    value: MLP | None = None
    exploration: float = 3.0
    mixing: float = static(default=0.5)
    rollouts: int = static(default=1)
    simulations: int = static(default=200)

    def __check_init__(self) -> None:
        require(self.simulations >= 1, f"A search needs at least one simulation, got {self.simulations}.")
        require(self.rollouts >= 1, f"A leaf needs at least one roll-out, got {self.rollouts}.")
        require(0 <= self.mixing <= 1, f"The share of roll-outs must be between 0 and 1, got {self.mixing}.")
        _mctx()

    def __call__(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Int[Array, "game"]:
        _, result = game.every(positions)
        won = (result > 0).T & positions.legal_action_mask
        return jnp.where(won, 2.0, self.search(game, positions, key).action_weights).argmax(-1)

    def search(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Any:
        """Return what mctx found: `action_weights` are shares of visits, `search_tree` holds Q for who is to move."""
        mctx = _mctx()

        def expand(_: None, key: PRNGKeyArray, action: Array, positions: Positions) -> tuple[Any, Positions]:
            following, result = game.after(positions, action)
            over = following.terminated
            step = mctx.RecurrentFnOutput(
                reward=result,
                discount=jnp.where(over, 0.0, -1.0),  # what is good for the other is bad for who moved
                prior_logits=self.prior(game, following),
                value=jnp.where(over, 0.0, self.leaf(game, following, key)),
            )
            return step, following

        leaf_key, search_key = jax.random.split(key)
        root = mctx.RootFnOutput(
            prior_logits=self.prior(game, positions), value=self.leaf(game, positions, leaf_key), embedding=positions
        )
        return mctx.muzero_policy(
            None,
            search_key,
            root,
            expand,
            self.simulations,
            invalid_actions=~positions.legal_action_mask,
            qtransform=_own_values,
            dirichlet_fraction=0.0,
            pb_c_init=self.exploration,
            pb_c_base=1e9,
            temperature=0.0,
        )

    def prior(self, game: Game, positions: Positions) -> Float[Array, "game choice"]:
        """Return logits of P, 0 for moves that are not legal."""
        legal = positions.legal_action_mask
        if self.policy is None:
            return masked(jnp.zeros(legal.shape), legal)
        return masked(self.policy(game.seen(positions).astype(jnp.float32)), legal)

    def leaf(self, game: Game, positions: Positions, key: PRNGKeyArray) -> Float[Array, "game"]:
        """Return `(1 − m) v + m z` for who is to move."""
        value = jnp.zeros(positions.terminated.shape)
        if self.value is not None:
            value = worth(self.value, game.seen(positions))
        if self.mixing == 0:
            return value
        played = jax.vmap(lambda key: rollout(game, positions, key))(jax.random.split(key, self.rollouts))
        return (1.0 - self.mixing) * value + self.mixing * played.mean(0)


def _own_values(tree: Any, node: Array) -> Float[Array, "choice"]:
    """Return Q of a node's moves: 0 for those not tried, and less than any for those that are not legal."""
    values = jnp.where(tree.children_visits[node] > 0, tree.qvalues(node), 0.0)
    return jnp.where(tree.children_prior_logits[node] > ILLEGAL / 2, values, ILLEGAL)


def rollout(game: Game, positions: Positions, key: PRNGKeyArray) -> Float[Array, "game"]:
    """Play random legal moves to the end; return the results for who is to move now."""

    def play(carry: tuple[Array, Positions, Array]) -> tuple[Array, Positions, Array]:
        ply, current, result = carry
        action = Random()(game, current, jax.random.fold_in(key, ply))
        following, gained = game.after(current, action)
        return ply + 1, following, result + (1.0 - 2.0 * (ply % 2)) * jnp.where(current.terminated, 0.0, gained)

    start = (jnp.int32(0), positions, jnp.zeros(positions.terminated.shape))
    return jax.lax.while_loop(lambda carry: ~carry[1].terminated.all(), play, start)[2]


# --- all stages -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How much of each stage there is."""

    mistakes: float = 0.3
    expert_games: int = 2000
    supervised_steps: int = 2000
    rounds: int = 500
    games_per_round: int = 128
    value_games: int = 20_000
    value_steps: int = 3000
    simulations: int = 200
    hidden: tuple[int, ...] = (128, 128)


@dataclasses.dataclass(frozen=True)
class Learned:
    """The networks of the stages, and the figures that their training gave, by name."""

    supervised: MLP
    improved: MLP
    value: MLP
    figures: dict[str, float]


def learn(game: Game, recipe: Recipe, seed: int = 0, tell: Callable[[str], None] = lambda line: None) -> Learned:
    """Go through the stages one after another; `tell` gets a line about each."""
    games_key, imitate_key, improve_key, positions_key, held_key, value_key = jax.random.split(jax.random.key(seed), 6)
    figures: dict[str, float] = {}

    def note(name: str, value: Any) -> None:
        figures[name] = float(value)
        tell(f"{name.replace('_', ' ')}: {figures[name]:.3f}")

    record = expert_games(game, expert(game, recipe.mistakes), recipe.expert_games, games_key)
    first, losses = supervised(game, record, imitate_key, recipe.supervised_steps, hidden=recipe.hidden)
    note("cross_entropy", np.mean(losses[-100:]))
    better, results = policy_gradient(game, first, improve_key, recipe.rounds, recipe.games_per_round)
    note("result_against_the_pool", np.mean(results[-50:]))
    players = NetworkPlayer(first), NetworkPlayer(better)
    value, errors = value_network(
        *value_positions(game, *players, recipe.value_games, positions_key),
        value_key,
        recipe.value_steps,
        hidden=recipe.hidden,
    )
    note("squared_error", np.mean(errors[-100:]))
    seen, result, played = value_positions(game, *players, 2000, held_key)
    wrong = jnp.square(worth(value, seen) - result)
    note("squared_error_of_new_games", (wrong * played).sum() / played.sum())
    return Learned(first, better, value, figures)
