"""Types of settings: numbers with a range that `colornet.settings` checks."""

from typing import Annotated

from colornet.settings import Field

Share = Annotated[float, Field(ge=0, le=1)]
"""A number in [0, 1]."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number of at least 0."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""
DecayRate = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1): the share of an average that a step keeps."""
Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""
CountOrZero = Annotated[int, Field(ge=0)]
"""A whole number of at least 0."""
