from pathlib import Path

from components.artifacts.describe import page

ROOT = Path(__file__).parents[2]


def test_the_contract_page_is_what_the_schemas_say() -> None:
    assert (ROOT / "docs/contract.md").read_text() == page(), (
        "run python -m components.artifacts.describe > docs/contract.md"
    )
