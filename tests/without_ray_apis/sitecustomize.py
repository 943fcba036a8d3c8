"""Takes away what Ray may take away, in every process that has this folder in PYTHONPATH.

COLORNET_TEST_WITHOUT names what, with commas in between. Only the jobs' own imports meet with it: Ray itself goes on.
"""

import builtins
import inspect
import os
from collections.abc import Callable
from typing import Any

MODULES = {
    "callbacks": "ray.data._internal.execution.execution_callback",
    "exceptions": "ray.train.v2._internal.exceptions",
}
KEYWORDS = {"remote_args": "ray_remote_args", "remote_args_fn": "ray_remote_args_fn"}
APIS = (*MODULES, *KEYWORDS, "storage")


def without(function: Callable[..., Any], *parameters: str) -> Callable[..., Any]:
    """Return a function that does the same, but for these parameters."""
    signature = inspect.signature(function)
    kept = [each for each in signature.parameters.values() if each.name not in parameters]
    narrowed = signature.replace(parameters=kept)

    def narrow(*arguments: Any, **keywords: Any) -> Any:
        narrowed.bind(*arguments, **keywords)
        for name in parameters:
            if name in keywords:
                raise TypeError(f"unexpected keyword argument {name!r}")
        return function(*arguments, **keywords)

    narrow.__signature__ = narrowed  # type: ignore[attr-defined]
    return narrow


class WithoutStorage:
    """A context of a training's worker that does not tell where its checkpoints go."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        if name == "get_storage":
            raise AttributeError(name)
        return getattr(self._context, name)


def take_away(apis: set[str]) -> None:
    """Meet the imports of `jobs.ray_private`, whatever the package's name is."""
    import_ = builtins.__import__

    def narrow(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        asks = (globals or {}).get("__name__", "").endswith(".ray_private")
        if asks and name in {MODULES.get(api) for api in apis}:
            raise ImportError(name)
        module = import_(name, globals, locals, fromlist, level)
        if asks and name == "ray.data":
            keywords = [KEYWORDS[api] for api in apis & KEYWORDS.keys()]
            module.data.Dataset.map_batches = without(module.data.Dataset.map_batches, *keywords)
        if asks and name == "ray.train" and "storage" in apis:
            context = module.train.get_context
            module.train.get_context = lambda: WithoutStorage(context())
        return module

    builtins.__import__ = narrow


if os.environ.get("COLORNET_TEST_WITHOUT"):
    take_away(set(os.environ["COLORNET_TEST_WITHOUT"].split(",")))
