import sys

from weft.core.progress import Progress, Silent, clock


def test_time_left_is_written_in_words():
    assert [clock(seconds) for seconds in (0.4, 12, 200, 3725)] == ["0 s", "12 s", "3 min 20 s", "1 h 02 min"]


def test_without_a_terminal_there_is_a_line_every_tenth_of_the_way(capsys):
    with Progress() as shown:
        shown.say("4 runs [of 1]")
        shown.begin("iql", 0, 100, 4)
        for step in range(1, 101):
            shown.update(step, {"critic_loss": 0.25, "mean_q": float("nan")})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "4 runs [of 1]"
    assert len(lines) == 11
    assert lines[-1].startswith("iql  100/100")
    assert "critic_loss 0.25  mean_q nan" in lines[-1]
    assert "0 s left" in lines[-1]


def test_the_first_chunk_does_not_count_for_the_speed(capsys, monkeypatch):
    now = iter([0.0, 100.0, 101.0, 102.0])
    monkeypatch.setattr("weft.core.progress.time.monotonic", lambda: next(now))
    with Progress() as shown:
        shown.begin("iql", 0, 30, 2)
        for step in (10, 20, 30):
            shown.update(step, {})
    lines = capsys.readouterr().err.splitlines()
    assert "20 steps/s  1 s left" in lines[1]  # two runs of 10 steps in the second second


def test_a_terminal_gets_one_live_line_for_each_program(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress() as shown:
        for name in ("one", "two"):
            shown.begin(name, 5, 10, 1)
            shown.update(10, {"loss": 1.0})
        assert [task.completed for task in shown.bar.tasks] == [10, 10]
        assert "10/10" in shown.bar.tasks[0].fields["words"]


def test_silence_is_silent(capsys):
    with Silent() as shown:
        shown.begin("iql", 0, 10, 1)
        shown.update(10, {})
        shown.say("nothing")
    assert capsys.readouterr() == ("", "")


def test_a_warning_is_shown_even_where_nothing_else_is(capsys, caplog):
    Silent().say("nothing")
    Silent().warn("100 % wrong")
    assert [record.message for record in caplog.records] == ["100 % wrong"]
    with Progress() as shown:
        shown.warn("[all] wrong")
    assert "[all] wrong" in capsys.readouterr().err
