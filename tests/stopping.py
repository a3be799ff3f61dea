"""Trainings that are stopped halfway."""

import pytest

from pipeline import fitting


def leave_half_done(train_it, data_folder, out, monkeypatch, *, epochs_done=1, **how):
    """Stop a training after some epochs, as a kill would, and return its folder."""
    train, calls = fitting.train, []

    def stopped(*args, **kwargs):
        task = args[0]
        validate = task.validate

        def once():
            if len(calls) == epochs_done:
                raise KeyboardInterrupt
            calls.append(1)
            return validate()

        task.validate = once
        return train(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_it(data_folder, out, **how)
    return out
