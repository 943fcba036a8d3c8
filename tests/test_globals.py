"""A host that imports the library finds its own process as it was."""

import json
import subprocess
import sys

COMPARE = """
import ast, importlib.util, json, logging, sys, types, warnings
from pathlib import Path

root = Path(importlib.util.find_spec("colornet").origin).parent
paths = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
modules = [".".join(path.parts).removesuffix(".__init__") for path in paths]
modules.remove("colornet.__main__")  # a command, not a part of the library


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# What others do when they are imported is theirs: first them alone, then the library.
others = {name for path in root.rglob("*.py") for name in imports(ast.parse(path.read_text()))}
for name in sorted(others):
    if name.partition(".")[0] != "colornet":
        try:
            importlib.import_module(name)
        except ImportError:  # a name in a module, or an extra that is not installed
            pass


def switches(package):
    '''Plain values of a package's modules: what somebody may set for all who use it.'''
    plain = (bool, int, float, str, bytes, tuple, frozenset, types.NoneType)
    for name, module in sorted(sys.modules.items()):
        if module is not None and (name == package or name.startswith(package + ".")):
            for key, value in vars(module).items():
                if isinstance(value, plain) and not key.startswith("__"):
                    yield f"{name}.{key}", repr(value)


def state():
    import numpy, torch

    found = {key: value for package in ("PIL", "tifffile", "imagecodecs") for key, value in switches(package)}
    found["warnings.filters"] = repr(warnings.filters)
    found["numpy.geterr"] = repr(numpy.geterr())
    found["torch.get_num_threads"] = repr(torch.get_num_threads())
    found["torch.get_default_dtype"] = repr(torch.get_default_dtype())
    found["torch.is_grad_enabled"] = repr(torch.is_grad_enabled())
    found["logging.disable"] = repr(logging.root.manager.disable)
    for name, logger in [("root", logging.root), *sorted(logging.root.manager.loggerDict.items())]:
        if isinstance(logger, logging.Logger):
            about = (logger.level, logger.propagate, logger.disabled, logger.handlers, logger.filters)
            found[f"logger {name}"] = repr(about)
    return found


before = state()
assert "colornet" not in sys.modules
for name in modules:
    importlib.import_module(name)
after = state()
new = repr((logging.NOTSET, True, False, [], []))  # a logger that somebody has asked for, and left as it is
expected = {key: before.get(key, new if key.startswith("logger ") else None) for key in before | after}
changed = {key: (value, after.get(key)) for key, value in expected.items() if value != after.get(key)}
print(json.dumps({"modules": len(modules), "compared": len(before), "changed": changed}))
"""


def test_importing_the_library_changes_nothing_for_its_host():
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["modules"] > 80 and found["compared"] > 200
    assert not found["changed"]
