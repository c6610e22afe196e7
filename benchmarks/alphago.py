"""The stages of AlphaGo's recipe against each other, on tic-tac-toe and connect four.

    python benchmarks/alphago.py

Every stage plays the one before, and begins every second game. Networks draw their moves; the value network looks one
ply ahead; the search has the networks of both. `score` counts a draw as a half; `decided` is the share of wins among
the games that were not drawn, which is what tells them apart in tic-tac-toe. Intervals are of 95 %.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from weft.labs.games import Game, NetworkPlayer, Perfect, Player, Random, ValuePlayer, play_match
from weft.labs.selfplay import Recipe, SearchPlayer, expert, learn

RECIPES = {
    "tic_tac_toe": Recipe(),
    "connect_four": Recipe(mistakes=0.5, expert_games=4000, value_games=40_000, value_steps=2000, simulations=64),
}


def judge(game: Game, recipe: Recipe, cheap: int, dear: int) -> dict[str, Any]:
    """Go through the stages and let each play the one before; searches play `dear` games, the others `cheap`."""
    started = time.process_time()
    learned = learn(game, recipe, tell=lambda line: print("  " + line, flush=True))
    players: dict[str, Player] = {
        "random": Random(),
        "expert": expert(game, recipe.mistakes),
        "supervised": NetworkPlayer(learned.supervised),
        "policy gradient": NetworkPlayer(learned.improved),
        "value": ValuePlayer(learned.value),
        "search": SearchPlayer(learned.improved, learned.value, simulations=recipe.simulations),
    }
    solved = game.name == "tic_tac_toe"
    pairs = [
        ("supervised", "random", cheap),
        ("policy gradient", "supervised", cheap),
        ("value", "policy gradient", cheap),
        ("search", "policy gradient", 4 * dear if solved else dear),  # nearly all of them are drawn there
        ("search", "value", dear),
        ("search", "expert", dear),
    ]
    if solved:
        players["perfect"] = Perfect()
        pairs.append(("search", "perfect", dear))
    matches = []
    for one, two, games in pairs:
        found = play_match(game, players[one], players[two], games)
        print(f"  {one} against {two}: {found}", flush=True)
        matches.append(
            {
                "player": one,
                "against": two,
                "wins": found.wins,
                "draws": found.draws,
                "losses": found.losses,
                "score": round(found.score, 4),
                "interval": [round(end, 4) for end in found.interval],
                "decided": [round(end, 4) for end in found.decided],
            }
        )
    seconds = round(time.process_time() - started, 1)
    return {"simulations": recipe.simulations, "figures": learned.figures, "matches": matches, "cpu_seconds": seconds}


def main() -> None:
    """Train, play, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cheap", type=int, default=1000, help="games of matches without a search")
    parser.add_argument("--dear", type=int, default=200, help="games of matches with a search")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "alphago.json")
    given = parser.parse_args()
    games = {}
    for name, recipe in RECIPES.items():
        print(name, flush=True)
        games[name] = judge(Game(name), recipe, given.cheap, given.dear)
    given.out.write_text(json.dumps({"games": games}, indent=1) + "\n")


if __name__ == "__main__":
    main()
