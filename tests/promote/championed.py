"""A version made the champion as if it had passed the gate: for tests of what comes after."""

from pathlib import Path

from components.promote.production import Promoted, copy_to_production, lineage, prepared
from components.promote.transaction import commit, reconcile
from components.registry.fetch import Found, model_of
from components.registry.history import Content
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import production_name, resolve
from components.serving.package import files_of
from components.settings import Settings


def files_like_a_model(folder: Path, number: int) -> Promoted:
    """What a promotion copies, where the model itself does not matter: a file with a number."""
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model/weights.json").write_text(str(number))
    return Promoted(folder, files_of(folder), {})


def make_champion(settings: Settings, root: Path, version_uri: str, by: str = "eve") -> int:
    """Number of the version in production."""
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    with connected(settings.register_, root) as client:
        history, version = reconcile(client, name, trust), resolve(client, version_uri)
        made = prepared(client, version, model_of(client, Found(version, None)).package)
        number, run = copy_to_production(client, (settings.register_, root), version, name, made)
        content = Content(
            kind="promote",
            model=name,
            version=number,
            source=f"{version.name}/{version.version}",
            parent=history.champion,
            by=by,
            reason="made",
            gate={},
            files=made.files,
            lineage=lineage(version),
            inputs=made.inputs,
            run=run,
        )
        commit(client, name, content, history, trust)
    return number
