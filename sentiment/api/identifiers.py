"""What a client may call its items, and whole numbers as JSON has them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

MAX_CHARS = 256

MAX_WHOLE = 2**53 - 1
"""The largest whole number that JSON carries everywhere alike (RFC 8259, section 6)."""

EXPECTED = f"expected a string of up to {MAX_CHARS} characters, or a whole number below 2^53"


def whole(given: Any) -> Any:
    """Return `given` as an `int` where it is a whole number to JSON Schema, else as it is.

    To JSON Schema 1.0 is one too, and `true`, which Python takes for 1, is none.
    """
    return int(given) if isinstance(given, float) and given.is_integer() else given


def identifier(given: Any) -> str | int | None:
    """Return an identifier as it is echoed; `None` is none.

    Raises:
        PydanticCustomError: it is something else. One error, where pydantic would name one for
            each type.
    """
    given = whole(given)
    if given is None or (isinstance(given, str) and len(given) <= MAX_CHARS):
        return given
    if type(given) is int and abs(given) <= MAX_WHOLE:
        return given
    raise PydanticCustomError("identifier", EXPECTED)


WHOLE = BeforeValidator(whole)
"""Of an `int`, as the last of its annotations: bounds behind it would be missing in OpenAPI."""

Identifier = Annotated[
    Annotated[str, Field(max_length=MAX_CHARS)]
    | Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]
    | None,
    BeforeValidator(identifier),
]
