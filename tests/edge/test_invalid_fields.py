"""What is wrong with a field is said in words, whichever check of pydantic has found it."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator

from remote_claude.edge.invalid_fields import words


class Body(BaseModel, extra="forbid"):
    name: Annotated[str, StringConstraints(min_length=1, max_length=3, pattern="^[A-Z]+$")] = "A"
    number: Annotated[int, Field(ge=1, le=5)] = 1
    role: Literal["owner", "member"] = "owner"
    tags: Annotated[list[str], Field(max_length=1)] = []
    even: bool = True
    odd: int = 1

    @field_validator("odd")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if not value % 2:
            raise ValueError("has to be odd")
        return value


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "is empty"),
        ("name", "ABCD", "has more than 3 characters"),
        ("name", "a", "is not in the form that it needs"),
        ("name", 1, "has to be a text"),
        ("number", 0, "has to be at least 1"),
        ("number", 6, "has to be at most 5"),
        ("number", "x", "has to be a whole number"),
        ("role", "king", "has to be 'owner' or 'member'"),
        ("tags", ["a", "b"], "has more than 1 entries"),
        ("tags", {}, "has to be a list"),
        ("even", "perhaps", "has to be true or false"),
        ("odd", 2, "has to be odd"),
        ("more", 2, "is not known here"),
    ],
)
def test_a_wrong_field_is_named_in_words(field: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate({field: value})
    [error] = refused.value.errors(include_url=False, include_input=False)
    assert words(error) == said


def test_an_error_of_our_own_keeps_its_sentence() -> None:
    error = {"type": "model", "msg": "bedrock needs `model`", "ctx": {}}
    assert words(error) == "bedrock needs `model`"
    assert words({"type": "model_type", "msg": "Input should be"}) == "has to be an object"
