"""Every wrong cell or option of a table is one sentence that names the file, the column and the rows."""

import pytest
from tables import PARTS, csv, frame, sentence

BAD = {
    "missing column": (
        {},
        {"reward": "rr"},
        "there is no column 'rr' (reward). Did you mean 'r'? Known: e, t, x0, x1, a, r, end.",
    ),
    "missing pattern": (
        {},
        {"observations": "z*"},
        "no column matches 'z*' (observations). Known: e, t, x0, x1, a, r, end.",
    ),
    "not said": (
        {},
        {"action": None},
        "say which columns are the action, as action='...': e, t, x0, x1, a, r, end.",
    ),
    "several for one": ({}, {"episode": "x*"}, "episode must be one column, 'x*' means x0, x1."),
    "no ends": (
        {},
        {"episode": "e", "timeout": "end"},
        "timeout='end' says which episodes were cut; say how the others end, by terminal=COLUMN (--terminal COLUMN), "
        "or by ends='timeout' (--ends timeout) where all were cut.",
    ),
    "unknown end": ({}, {"episode": "e", "ends": "done"}, "ends must be 'terminal' or 'timeout', got 'done'."),
    "two ends": (
        {},
        {"episode": "e", "ends": "terminal", "terminal": "end"},
        "ends='terminal' says that every episode ends itself; leave terminal and timeout out.",
    ),
    "ends without episodes": (
        {},
        {"terminal": "end"},
        "without episode=COLUMN each row is one decision that ends itself; name the column that tells episodes apart "
        "(--episode COLUMN), or leave terminal, timeout and ends out.",
    ),
    "terminal inside": (
        {"end": [0, 0, 1, 0, 1, 1]},
        {"episode": "e", "time": "t", "terminal": "end"},
        "column 'end' is true inside an episode (row 2); end the episode there, or pass terminal_inside='keep' "
        "(--terminal-inside keep) if steps after a terminal are meant.",
    ),
    "terminal values": (
        {"end": [0, 0, 7, 0, 1, 1]},
        {"episode": "e", "time": "t", "terminal": "end"},
        "column 'end' must hold true or false, 0 or 1 (row 2).",
    ),
    "terminal words": (
        {"end": ["no", "no", "true", "no", "true", "true"]},
        {"episode": "e", "terminal": "end"},
        "column 'end' must hold true or false, 0 or 1 (3 rows, first 0, 1, 3).",
    ),
    "null": (
        {"x1": [1, None, 0, 1, None, 2]},
        {},
        "column 'x1' has no value (2 rows, first 1, 4); mend or drop these rows.",
    ),
    "null in time": (
        {"t": [2, 1, None, 2, 3, 3]},
        {"episode": "e", "time": "t", "ends": "terminal"},
        "column 't' has no value (row 2); mend or drop these rows.",
    ),
    "reward NaN": (
        {"r": [0.0, float("nan"), 1, 2, 3, float("inf")]},
        {"episode": "e", "time": "t", "ends": "terminal"},
        "column 'r' is NaN or infinite (2 rows, first 1, 5); mend or drop these rows.",
    ),
    "observation infinite": (
        {"x1": [0.0, 1, 2, float("-inf"), 3, 4]},
        {},
        "column 'x1' is NaN or infinite (row 3); mend or drop these rows.",
    ),
    "next observation NaN": (
        {"y0": [0.0] * 6, "y1": [0.0, 1, 2, 3, float("nan"), 5]},
        {"next_observations": "y*"},
        "column 'y1' is NaN or infinite (row 4); mend or drop these rows.",
    ),
    "category NaN": (
        {"x1": [0.0, float("nan"), 2, 3, 1, 5]},
        {"kinds": {"x1": "category"}},
        "column 'x1' is NaN or infinite (row 1); mend or drop these rows.",
    ),
    "one of several actions NaN": (
        {"b": [0.0, 1, 2, 3, float("nan"), 5]},
        {"action": "a,b"},
        "column 'b' is NaN or infinite (row 4); mend or drop these rows.",
    ),
    "NaN in time": (
        {"t": [2, 1, float("nan"), 2, 3, 3]},
        {"episode": "e", "time": "t"},
        "column 't' is NaN or infinite (row 2); mend or drop these rows.",
    ),
    "words for times": (
        {"t": ["10:01", "9:05", "10:02", "soon", "10:04", ""]},
        {"episode": "e", "time": "t"},
        "column 't' holds words that are no ISO dates or times, such as 2024-05-01T09:05:00 or 09:05 (3 rows, first "
        "1, 3, 5); they would be sorted by their letters.",
    ),
    "no such day": (
        {"t": ["2024-02-28", "2024-02-30", "2024-03-01", "2024-03-02", "24:00", "2024-03-04"]},
        {"episode": "e", "time": "t"},
        "column 't' holds words that are no ISO dates or times, such as 2024-05-01T09:05:00 or 09:05 (2 rows, first "
        "1, 4); they would be sorted by their letters.",
    ),
    "time zone in one row": (
        {"t": ["2024-03-01T10:00Z"] + ["2024-03-01T10:00"] * 5},
        {"episode": "e", "time": "t"},
        "column 't' gives time zones in some rows only (5 rows, first 1, 2, 3, 4, 5 without).",
    ),
    "reward words": (
        {"r": ["1", "two", "3", "4", "five", "6"]},
        {},
        "column 'r' holds words where numbers are needed (2 rows, first 1, 4).",
    ),
    "action bounds": (
        {"a": [0.5, 0.5, 3.0, 0.5, 0.5, 0.5]},
        {"action_bounds": (-1, 1), "episode": "e", "time": "t", "ends": "terminal"},
        "column 'a' is outside its bounds [[-1.0], [1.0]] (row 2).",
    ),
    "several labels": (
        {"b": ["x"] * 6},
        {"action": "a,b"},
        "column 'b' holds words; several action columns must be numbers.",
    ),
    "propensity": (
        {"p": [0.5, 0.5, 0.0, 1.5, 1, 1]},
        {"propensity": "p"},
        "column 'p' must be positive (row 2); it is a probability or density.",
    ),
    "propensity above one": (
        {"p": [0.5, 0.5, 1.0, 1.5, 1, 1]},
        {"propensity": "p", "episode": "e", "time": "t", "ends": "terminal"},
        "column 'p' is a probability of a discrete action and may not exceed 1 (row 3).",
    ),
    "next observations": (
        {},
        {"observations": "x0,x1", "next_observations": "x0"},
        "next_observations means 1 columns (x0), observations 2 (x0, x1); give as many, in the same order.",
    ),
    "kind of nothing": (
        {},
        {"kinds": {"x9": "category"}},
        "there is no column 'x9' (kinds). Did you mean 'x1'? Known: e, t, x0, x1, a, r, end.",
    ),
    "no pattern": (
        {},
        {"reward": 5},
        "reward must be a column, a pattern such as 'x*', or a list of these, got 5.",
    ),
}


@pytest.mark.parametrize(("columns", "options", "said"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("stored", ["csv", "frame"])
def test_bad_tables(columns, options, said, stored, tmp_path):
    table = frame(**columns)
    log = csv(tmp_path, table) if stored == "csv" else table
    assert sentence(log, **{**PARTS, **options}) == f"{log if stored == 'csv' else 'the DataFrame'}: {said}"
