"""The rules, the exact figures of tic-tac-toe, and who beats whom at random."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.labs import games
from weft.labs.games import (
    LINES,
    Game,
    Lookahead,
    Match,
    NetworkPlayer,
    Perfect,
    Random,
    ValuePlayer,
    code,
    moved,
    play_match,
    solution,
    unfold,
    versus,
)
from weft.nn.dense import mlp

TIC_TAC_TOE = Game("tic_tac_toe")
CONNECT_FOUR = Game("connect_four")
STEP = jax.jit(TIC_TAC_TOE.every)


def everything() -> list:
    """Return every position of tic-tac-toe that can come up, once, by the number of stones."""
    levels = [jax.tree.map(np.asarray, TIC_TAC_TOE.start(jax.random.key(0), 1))]
    for _ in range(9):
        following, _ = every(levels[-1])
        legal = levels[-1].legal_action_mask.T & ~levels[-1].terminated
        following = jax.tree.map(lambda leaf, legal=legal: leaf[legal], following)
        _, first = np.unique(seen_code(following), return_index=True)
        levels.append(jax.tree.map(lambda leaf, first=first: leaf[first], following))
    return levels


def every(positions):
    """Make every move in every position, in one program: no level has more than 1680."""
    count = len(positions.terminated)
    full = jax.tree.map(lambda leaf: np.resize(leaf, (1680, *leaf.shape[1:])), positions)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, :count], STEP(full))


def seen_code(positions) -> np.ndarray:
    cells = positions.observation.reshape(*positions.observation.shape[:-3], 9, 2)
    return (np.asarray(cells) * np.array([1, 2]) * 3 ** np.arange(9)[:, None]).sum((-2, -1))


def test_the_solution_counts_and_values_what_is_known():
    found = solution()
    assert found.reachable.sum() == 5478
    assert found.value[0] == 0
    assert found.best[0].all()  # every opening draws


def test_the_solution_is_of_the_game_that_is_played():
    levels = everything()
    codes = np.concatenate([seen_code(level) for level in levels])
    np.testing.assert_array_equal(code(TIC_TAC_TOE.seen(levels[4])), seen_code(levels[4]))
    assert len(np.unique(codes)) == len(codes) == 5478
    assert solution().reachable[codes].all()
    for level in levels[:-1]:
        going = ~level.terminated
        following, result = every(level)
        worth = np.where(following.terminated, result, -solution().value[seen_code(following)])
        worth = np.where(level.legal_action_mask.T, worth, -np.inf)
        value = solution().value[seen_code(level)]
        np.testing.assert_array_equal(worth.max(0)[going], value[going])
        best = solution().best[seen_code(level)]
        np.testing.assert_array_equal((worth == worth.max(0)).T[going], best[going])


def exact(first: str, second: str) -> np.ndarray:
    """Return the chances that who begins wins, draws and loses: `random`, or `best` against a random opponent."""

    @functools.cache
    def from_here(board: tuple, turn: int) -> tuple:
        if any(all(board[place] == 2 for place in line) for line in LINES):
            return (0.0, 0.0, 1.0) if turn == 0 else (1.0, 0.0, 0.0)
        if 0 not in board:
            return (0.0, 1.0, 0.0)
        found = np.array([from_here(moved(board, place), 1 - turn) for place in range(9) if board[place] == 0])
        if (first, second)[turn] == "random":
            return tuple(found.mean(0))
        gain = (found[:, 0] - found[:, 2]) * (1 - 2 * turn)
        return tuple(found[gain.argmax()])

    return np.array(from_here((0,) * 9, 0))


def test_exact_chances():
    np.testing.assert_allclose(exact("random", "random"), (0.5849, 0.1270, 0.2881), atol=5e-5)
    np.testing.assert_allclose(exact("best", "random"), (0.9948, 0.0052, 0.0), atol=5e-5)
    assert exact("best", "best")[1] == 1


def test_random_games_come_out_as_they_should():
    found = play_match(TIC_TAC_TOE, Random(), Random(), 8000)
    for part, chances in ((found.first, (0.5849, 0.1270, 0.2881)), (found.second, (0.2881, 0.1270, 0.5849))):
        np.testing.assert_allclose(np.array(part) / 4000, chances, atol=4 * np.sqrt(0.25 / 4000))


def test_perfect_play_never_loses_and_draws_itself():
    assert play_match(TIC_TAC_TOE, Perfect(), Random(), 2000).losses == 0
    assert play_match(TIC_TAC_TOE, Perfect(), Perfect(), 200).draws == 200
    assert play_match(TIC_TAC_TOE, Perfect(mistakes=0.5), Perfect(), 400).losses > 50
    with pytest.raises(UserError, match="Only tic_tac_toe is solved"):
        play_match(CONNECT_FOUR, Perfect(), Random(), 2)


def after(game: Game, moves: list[int]):
    positions = game.start(jax.random.key(0), 1)
    for move in moves:
        positions = game.step(positions, jnp.array([move]))
    return positions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moves", "answer"),
    [([0, 6, 0, 6, 0], 0), ([0, 6, 0, 6, 1, 6], 6), ([0, 6, 1, 6, 2], 3), ([0, 6, 0, 6, 0, 6], 0)],
)
def test_the_look_ahead_wins_or_keeps_the_other_from_winning(moves, answer):
    for key in jax.random.split(jax.random.key(1), 5):
        assert Lookahead()(CONNECT_FOUR, after(CONNECT_FOUR, moves), key)[0] == answer


@pytest.mark.parametrize("game", [TIC_TAC_TOE, CONNECT_FOUR], ids=lambda game: game.name)
def test_a_record_is_of_legal_moves_and_takes_turns(game):
    # Networks of large random weights: an illegal move would be the likeliest in many positions.
    own = NetworkPlayer(mlp(jax.random.key(1), (game.features, 8, game.choices), 30.0))
    value = ValuePlayer(mlp(jax.random.key(2), (game.features, 8, 1)))
    for first, second in ((own, Random()), (value, own)):
        play = jax.jit(lambda one, two: unfold(game, versus(game, one, two), 40, jax.random.key(0)))
        record = play(first, second)
        alive = np.asarray(record.alive)
        chosen = np.take_along_axis(np.asarray(record.legal), np.asarray(record.action)[..., None], -1)[..., 0]
        assert chosen[alive].all()
        assert (alive[:-1] | ~alive[1:]).all()
        # What the mover sees as the other's stones is what the other saw as its own, and one more.
        stones = np.asarray(record.seen).reshape(*alive.shape, -1, 2)
        both = alive[1:]
        np.testing.assert_array_equal(stones[1:, ..., 0][both], stones[:-1, ..., 1][both])
        assert ((stones[1:, ..., 1].sum(-1) - stones[:-1, ..., 0].sum(-1))[both] == 1).all()
        # Who made the last move has won or nobody has.
        last = alive.sum(0) - 1
        assert (np.asarray(record.outcomes())[last, np.arange(40)] >= 0).all()
        np.testing.assert_array_equal(record.outcomes()[1:], -record.outcomes()[:-1])


def test_greedy_networks_take_the_likeliest_legal_move():
    network = mlp(jax.random.key(1), (18, 8, 9), 5.0)
    positions = after(TIC_TAC_TOE, [4, 0])
    logits = np.where(positions.legal_action_mask, network(TIC_TAC_TOE.seen(positions).astype(jnp.float32)), -np.inf)
    chosen = NetworkPlayer(network, greedy=True)(TIC_TAC_TOE, positions, jax.random.key(0))
    assert chosen[0] == logits.argmax()


def test_a_value_player_takes_a_win_that_is_there():
    network = mlp(jax.random.key(1), (18, 8, 1), 5.0)
    assert ValuePlayer(network)(TIC_TAC_TOE, after(TIC_TAC_TOE, [0, 3, 1, 4]), jax.random.key(0))[0] == 2


def test_the_score_of_a_match_and_its_interval():
    found = Match((30, 10, 10), (20, 10, 20))
    assert (found.wins, found.draws, found.losses, found.games) == (50, 20, 30, 100)
    assert found.score == 0.6
    np.testing.assert_allclose(found.interval, (0.5020, 0.6906), atol=5e-5)  # Wilson's for 60 of 100
    np.testing.assert_allclose(found.decided, (0.5155, 0.7231), atol=5e-5)  # 50 of 80
    assert Match((0, 1, 0), (0, 1, 0)).decided == (0.0, 1.0)
    low, high = Match((50, 0, 0), (50, 0, 0)).interval
    assert 0.96 < low < high <= 1 + 1e-9
    assert str(found).startswith("50 won, 20 drawn, 30 lost: 0.600")


def test_mistakes_of_the_user_are_one_sentence(monkeypatch):
    with pytest.raises(UserError, match="Did you mean 'connect_four'"):
        Game("conect_four")
    with pytest.raises(UserError, match="even number"):
        play_match(TIC_TAC_TOE, Random(), Random(), 3)
    monkeypatch.setitem(sys.modules, "pgx", None)
    games._rules.cache_clear()
    with pytest.raises(UserError, match=r"weft\[games\]"):
        Game("tic_tac_toe")
    games._rules.cache_clear()
