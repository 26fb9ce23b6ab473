"""The vault: secrets are stored, replaced and removed; the first model credential is used until another is chosen."""

from __future__ import annotations

import pytest

from given import Decider
from remote_claude.access.vault import SecretNotFound, fold
from remote_claude.contracts import Sealed
from remote_claude.contracts.users import ModelAccess, ModelChosen, SecretRemoved, SecretStored
from remote_claude.users.domain.vault import (
    MAX_SECRETS,
    ChooseModel,
    ModelNotFound,
    RemoveSecret,
    TooManySecrets,
    decide,
)

VAULT = Decider(fold, decide)
ORG, ADA, BOB = "org_1", "user_1", "user_2"


def stored(name: str = "TOKEN", owner: str | None = ADA, model: ModelAccess | None = None) -> SecretStored:
    return SecretStored(
        org=ORG,
        by=ADA,
        owner=owner,
        secret_name=name,
        value=Sealed(key=owner or ORG, box=name),
        hosts=() if model else ("api.example.com",),
        model=model,
    )


def chosen(name: str | None, owner: str | None = ADA) -> ModelChosen:
    return ModelChosen(org=ORG, by=ADA, owner=owner, secret_name=name)


MODEL = ModelAccess(base_url="https://api.anthropic.com")
REMOVE = RemoveSecret(org=ORG, by=ADA, name="TOKEN", owner=ADA)


def test_a_task_gets_the_secret_of_its_person_before_that_of_the_organisation() -> None:
    own, shared = stored(), stored(owner=None)
    vault = fold([own, shared])
    assert vault.secret("TOKEN", ADA) == own
    assert vault.secret("TOKEN", BOB) == shared
    with pytest.raises(SecretNotFound):
        fold([own]).secret("TOKEN", BOB)


def test_a_secret_that_only_services_use_is_none_for_a_task() -> None:
    forge = stored("forge_github", owner=None).model_copy(update={"hosts": ()})
    with pytest.raises(SecretNotFound):
        fold([forge]).secret("forge_github", ADA)


def test_a_removed_secret_is_gone_and_can_be_stored_again() -> None:
    removed = SecretRemoved(org=ORG, by=ADA, owner=ADA, secret_name="TOKEN")
    VAULT.given(stored()).when(REMOVE).then(removed)
    VAULT.given(stored(), removed).when(stored()).then(stored())
    VAULT.given(stored(owner=None)).when(REMOVE).then_refused(SecretNotFound)
    VAULT.given(stored("TOKEN", model=MODEL)).when(REMOVE).then_refused(SecretNotFound)


def test_the_first_model_credential_is_used_until_another_is_chosen() -> None:
    first, second = stored("one", model=MODEL), stored("two", model=MODEL)
    VAULT.given().when(first).then(first, chosen("one"))
    VAULT.given(first, chosen("one")).when(second).then(second)
    choose = ChooseModel(org=ORG, by=ADA, name="two", owner=ADA)
    VAULT.given(first, chosen("one"), second).when(choose).then(chosen("two"))
    VAULT.given(first, chosen("one")).when(choose).then_refused(ModelNotFound)
    assert fold([first, chosen("one"), second, chosen("two")]).model(ADA) == second
    assert fold([first, chosen("one")]).model(BOB) is None
    assert fold([first, chosen("one"), chosen(None)]).model(ADA) is None


def test_the_removal_of_the_chosen_credential_leaves_the_next_in_line() -> None:
    shared = stored("one", owner=None, model=MODEL)
    removed = SecretRemoved(org=ORG, by=ADA, owner=ADA, secret_name="one")
    own = stored("one", model=MODEL)
    assert fold([shared, chosen("one", None), own, chosen("one"), removed]).model(ADA) == shared


def test_there_is_room_for_so_many_only() -> None:
    full = [stored(f"T{n}") for n in range(MAX_SECRETS)]
    VAULT.given(*full).when(stored("ONE_MORE")).then_refused(TooManySecrets)
    VAULT.given(*full).when(stored("T0")).then(stored("T0"))
