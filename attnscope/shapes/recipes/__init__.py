"""How each of the embedded models is trained, one recipe a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.shapes.recipes.binding import BindingRecipe
    from attnscope.shapes.recipes.dit import TransformerRecipe
    from attnscope.shapes.recipes.lcm import ConsistencyRecipe
    from attnscope.shapes.recipes.reader import ReaderRecipe

NAMES = ("shapes", "shapes-dit", "shapes-lcm", "reader")


def choose(
    model: str, *, from_nothing: bool
) -> type[BindingRecipe | TransformerRecipe | ConsistencyRecipe | ReaderRecipe]:
    """The recipe of a model by its name.

    Args:
        model: one of :data:`NAMES`.
        from_nothing: whether there is no trained model to start from.

    Raises:
        InputError: there is no such model, or its recipe needs something to start from.
    """
    from attnscope.shapes.recipes.binding import BindingRecipe
    from attnscope.shapes.recipes.dit import TransformerRecipe
    from attnscope.shapes.recipes.lcm import ConsistencyRecipe
    from attnscope.shapes.recipes.reader import ReaderRecipe

    match model, from_nothing:
        case "shapes", _:
            return BindingRecipe
        case "shapes-dit", False:
            return TransformerRecipe
        case "reader", _:
            return ReaderRecipe
        case "shapes-lcm", False:
            return ConsistencyRecipe
        case "shapes-lcm", True:
            raise InputError(
                "`model='shapes-lcm'` is distilled from a trained U-Net: leave `start` out, and choose "
                "a `teacher`"
            )
        case "shapes-dit", True:
            raise InputError(
                "`model='shapes-dit'` trains its transformer from nothing over an autoencoder and a "
                "reader that are given: leave `start` out, or name a folder that has both"
            )
    raise InputError(f"`model` {model!r} is not trained here: choose {', '.join(NAMES)}")
