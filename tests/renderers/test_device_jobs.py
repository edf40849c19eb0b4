"""What renderers that draw in batches share."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_batches_are_powers_of_two_within_their_bounds():
    from marotte.renderers.device_jobs import batch_size

    assert [batch_size(n, 32, 2**20) for n in (1, 20_000, 60_000, 300_000, 2**21)] == [32, 32, 16, 2, 1]


def test_runs_are_of_the_same_object():
    from marotte.renderers.device_jobs import same_runs

    one, other = torch.zeros(3), torch.zeros(3)
    runs = [(run.start, run.stop, value) for run, value in same_runs([one, one, other, None, None, one])]
    assert [run[:2] for run in runs] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert (
        all(run[2] is each for run, each in zip(runs, (one, other, None, one), strict=True))
        and list(same_runs([])) == []
    )


def test_work_is_done_in_turn_and_without_gradients():
    from marotte.renderers.device_jobs import Workplace

    place = Workplace("cpu")
    with place.at_work():
        assert torch.is_inference_mode_enabled()
        given = torch.ones(2)
        assert place.bring(given) is given
    place.wait()
