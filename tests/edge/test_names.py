"""A name shows what it is, wherever it comes in."""

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from remote_claude.auth.api.models import NewKey
from remote_claude.contracts.names import is_name
from remote_claude.users.admin import app as org_app
from remote_claude.users.api.models import NewOrg

HIDING = ("safe\u202egpj.exe", "a\u200bb", "a\nb", "a\x1b[2Jb", "a\u2028b", "\u2066a", "  ", "")
SHOWN = ("Ada", "Zoë & Co. (Wien)", "株式会社", "عربي", "👩‍💻"[0], "a-b_c.d")


@pytest.mark.parametrize("name", HIDING)
def test_a_name_that_hides_something_is_refused(name: str) -> None:
    assert not is_name(name)
    for model in (NewOrg, NewKey):
        with pytest.raises(ValidationError):
            model.model_validate({"name": name})
    done = CliRunner().invoke(org_app, [name or " "])
    assert done.exit_code == 2
    assert "\u202e" not in done.output


@pytest.mark.parametrize("name", SHOWN)
def test_names_of_every_script_are_taken(name: str) -> None:
    assert is_name(name)
    assert NewOrg(name=name).name == name
