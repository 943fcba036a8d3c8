"""Settings are checked by their annotations, and what is wrong is said with the field's name."""

import dataclasses
import pickle
from typing import Annotated, Literal

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from colornet.errors import ColornetError, SettingsError
from colornet.settings import Field, from_dict, settings, to_dict


@settings
class Inner:
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of all."""


@settings
class Outer:
    kind: Literal["plain", "guided"] = "plain"
    """Which kind."""
    steps: Annotated[int, Field(ge=1)] = 3
    """How many."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Two numbers."""
    inner: Inner = dataclasses.field(default_factory=Inner)
    """What is inside."""

    def __post_init__(self) -> None:
        if self.kind == "plain" and self.steps > 99:
            raise SettingsError("steps must be at most 99 where kind is plain")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, r"^steps should be greater than or equal to 1, not 0$"),
        ({"steps": True}, r"^steps should be a valid integer, not True$"),
        ({"steps": "3"}, r"^steps should be a valid integer, not '3'$"),
        ({"kind": "round"}, r"^kind should be 'plain' or 'guided', not 'round'$"),
        ({"steps": 100}, r"^steps must be at most 99 where kind is plain$"),
        ({"stepps": 1}, r"^stepps: there is no such field$"),
        ({"steps": 0, "kind": "round"}, r"kind should .*; steps should "),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_field(values, message):
    with pytest.raises(SettingsError, match=message):
        Outer(**values)
    with pytest.raises(SettingsError, match=message):
        from_dict(Outer, values)


def test_paths_lead_into_nested_settings():
    with pytest.raises(SettingsError, match=r"^inner\.share should be less than or equal to 1, not 1\.5$"):
        from_dict(Outer, {"inner": {"share": 1.5}})
    with pytest.raises(SettingsError, match=r"^inner\.snow: there is no such field$"):
        from_dict(Outer, {"inner": {"snow": 1}})


def test_a_settings_error_is_both_ours_and_a_value_error():
    assert issubclass(SettingsError, ColornetError) and issubclass(SettingsError, ValueError)


@given(
    st.builds(
        Outer,
        kind=st.sampled_from(["plain", "guided"]),
        steps=st.integers(1, 99),
        betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        inner=st.builds(Inner, share=st.floats(0, 1)),
    )
)
def test_there_and_back(made):
    assert from_dict(Outer, to_dict(made)) == made == pickle.loads(pickle.dumps(made)) == dataclasses.replace(made)


def test_settings_are_frozen_and_tyro_makes_flags_of_them():
    made = tyro.cli(Outer, args=["--steps", "4", "--inner.share", "0.25", "--kind", "guided"])
    assert made == Outer(steps=4, inner=Inner(share=0.25), kind="guided")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.steps = 5
