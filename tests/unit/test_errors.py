"""What lies under an error: Ctrl-C, however often Python has wrapped it."""

from catseye.errors import was_interrupted


def wrapped(error: BaseException, times: int) -> BaseException:
    for _ in range(times):
        try:
            raise RuntimeError("Error calling __set_name__") from error
        except RuntimeError as outer:
            error = outer
    return error


def test_ctrl_c_is_found_below_what_wraps_it():
    for times in range(3):
        assert was_interrupted(wrapped(KeyboardInterrupt(), times))
        assert not was_interrupted(wrapped(ValueError("broken"), times))
    assert not was_interrupted(None)
