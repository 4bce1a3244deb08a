"""A model's folder is data: what in it would run code, lead elsewhere or fill the memory is refused.

Only small JSON files are read, and no library is given the folder, so nothing of it has run by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from attnscope.errors import InputError

_LIBRARIES = ("diffusers", "transformers")
_CODE = {
    **dict.fromkeys(("diffusers.py", "transformers.py"), "code in the place of a library"),
    "custom_generate/generate.py": "code in the place of a model's own generate",
}
"""Files in the folder of a part that some releases of the libraries run without being asked to."""
_MOST_STEPS = 1_000_000
"""Training steps of a scheduler; it makes tables of as many."""
_MOST_LAYERS = 1_000
"""The deepest models have about a hundred."""
_NO_NAMES = ("_class_name", "_diffusers_version", "_name_or_path")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is more than data; see :func:`check_index` for what it may name.

    Links within the folder are followed, from a snapshot in the hub's cache those to its blobs, and from
    anywhere those of ``*.safetensors`` to files: many have large weights on another disk or share them, and
    what is read of such a file are tensors by their names, whatever it is. Configurations and whole parts
    that lie elsewhere are refused, since a stranger's folder would have them read and shown.

    ``auto_map`` is left alone where a class of the libraries stands for the part, as for the language
    models of Kolors: that class does not look into it. One that does, such as ``AutoModel``, is refused
    beside it, and so is a class that the libraries do not have, which the part's own code would have to be.

    Args:
        folder: of a pipeline.

    Raises:
        InputError: with the file, and what it wants.
    """
    homes = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        homes.append(folder.resolve().parents[1] / "blobs")
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_symlink() and not hidden:  # nobody loads what is hidden, such as .git
            _check_link(folder, path, homes)
    for part in sorted(path for path in folder.glob("*") if path.is_dir()):
        check_no_code(part, str(folder), part.name)
    index = _read(folder / "model_index.json")
    for path in sorted({*folder.glob("*.json"), *folder.glob("*/*.json")}):
        where = path.relative_to(folder).as_posix()
        if path.name.endswith(("index.json", "config.json")):
            said = _read(path)
            if isinstance(said, dict):
                _check_said(folder, where, said, index if isinstance(index, dict) else {})


def check_no_code(part: Path, source: str, where: str = "") -> None:
    """Refuse the folder of a part with code that the libraries would run.

    Args:
        part: where its configuration is.
        source: of the model, for the error.
        where: the part is in it.

    Raises:
        InputError: with the file.
    """
    for name, what in _CODE.items():
        if (part / name).exists():
            raise _code(source, PurePosixPath(where, name).as_posix(), what)


def check_index(source: str, index: dict[str, Any]) -> None:
    """Refuse the ``model_index.json`` of a pipeline that names code of its own.

    Args:
        source: of the model, for the error.
        index: what the file says.

    Raises:
        InputError: its class, or that of a part, is none of diffusers or transformers.
    """
    named = index.get("_class_name")
    if named is not None and not isinstance(named, str):
        raise _code(source, "model_index.json", f"a pipeline of its own, {named!r}")
    for part, kind in index.items():
        if part in _NO_NAMES or not isinstance(kind, list) or not kind:
            continue
        library = kind[0]
        if not part.isidentifier():
            raise InputError(
                f"model_index.json of {source!r} has a part {part!r}, which is no name of a part but a "
                "path: a model's parts are folders in its own"
            )
        if library is not None and not _is_known(library):
            raise _code(source, "model_index.json", f"{part} of {library!r}")


def _is_known(library: Any) -> bool:
    if library in _LIBRARIES:
        return True
    return (  # such as "stable_diffusion", where the safety checker is
        isinstance(library, str)
        and library.isidentifier()
        and find_spec(f"diffusers.pipelines.{library}") is not None
    )


def _has_a_class(kind: Any) -> bool:
    """Whether a library has the class that the index names for a part, and it is what is loaded.

    Classes such as ``AutoModel`` look for another one, in ``auto_map``, too.
    """
    if not isinstance(kind, list) or len(kind) != 2 or not all(isinstance(n, str) for n in kind):
        return False
    library, name = kind
    if not _is_known(library) or re.match("Auto[A-Z]", name):
        return False
    place = library if library in _LIBRARIES else f"diffusers.pipelines.{library}"
    try:
        return hasattr(import_module(place), name)
    except ImportError:  # of what the class needs, which loading it will name
        return True


def _check_link(folder: Path, link: Path, homes: list[Path]) -> None:
    where = link.relative_to(folder).as_posix()
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a loop is the one or the other, by version
        raise InputError(f"{where} of {str(folder)!r} is a link to nothing") from error
    is_weights = link.suffix == ".safetensors" and target.is_file()
    if not is_weights and not any(target.is_relative_to(home) for home in homes):
        raise InputError(
            f"{where} of {str(folder)!r} is a link that leaves the folder: copy what it leads to (weights in "
            "safetensors may lie elsewhere)"
        )


def _check_said(folder: Path, where: str, said: dict[str, Any], index: dict[str, Any]) -> None:
    source = str(folder)
    if where == "model_index.json":
        check_index(source, said)
    if said.get("auto_map") and not _has_a_class(index.get(PurePosixPath(where).parent.name)):
        raise _code(source, where, f"code to be run, auto_map {said['auto_map']!r}")
    if where.endswith(".index.json"):
        files = said.get("weight_map")
        for name in set(map(str, files.values())) if isinstance(files, dict) else ():
            if PurePosixPath(name).name != name or "\\" in name:
                raise InputError(
                    f"{where} of {source!r} names the weights {name!r}, which is a path out of its folder"
                )
    for key, number in _numbers(said):
        most = _most(key)
        if most is not None and not 0 <= number <= most:
            raise InputError(
                f"{where} of {source!r} says {key}={number}, and no model has more than {most}: mend it"
            )


def _most(key: str) -> int | None:
    if key == "num_train_timesteps":
        return _MOST_STEPS
    counts = key.startswith(("num_", "n_")) and key.endswith(("layers", "blocks", "layer"))
    return _MOST_LAYERS if counts or "layers_per" in key else None


def _numbers(said: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Whole numbers by their keys, those of lists and of what is within, too."""
    for key, value in said.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from _numbers(item)
            elif isinstance(item, int) and not isinstance(item, bool):
                yield key, item


def _read(path: Path) -> Any:
    """What a JSON file says; ``None`` if it is none, which whoever needs it will say."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _code(source: str, where: str, what: str) -> InputError:
    return InputError(
        f"{where} of {source!r} is or names {what}: attnscope runs no code of a model, and loads classes of "
        f"{' and '.join(_LIBRARIES)} alone"
    )
