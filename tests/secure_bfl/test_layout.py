"""Where files lie: public and private apart, every file under its own name."""

from pathlib import Path

from secure_bfl.layout import PrivateFolder, PublicFolder

PUBLIC = ("ledger", "blobs", "anchors", "model", "report_json", "report_markdown", "report_html")
PRIVATE = ("keystore", "passphrase", "journal", "odometer", "outbox", "witness", "log")


def test_the_public_folder_of_a_run(tmp_path: Path) -> None:
    assert PublicFolder.of(tmp_path).path == tmp_path / "public"
    (tmp_path / "public" / "ledger").mkdir(parents=True)
    assert PublicFolder.of(tmp_path).path == tmp_path / "public"
    assert PublicFolder.of(tmp_path / "public").path == tmp_path / "public", "a public folder by itself"
    (tmp_path / "public" / "public" / "ledger").mkdir(parents=True)
    assert PublicFolder.of(tmp_path / "public").path == tmp_path / "public", "nothing inside stands in for it"


def test_every_file_has_its_own_place(tmp_path: Path) -> None:
    public, private = PublicFolder(tmp_path / "public"), PrivateFolder(tmp_path / "private" / "client-1")
    paths = [getattr(public, name) for name in PUBLIC] + [getattr(private, name) for name in PRIVATE]
    assert len(set(paths)) == len(PUBLIC) + len(PRIVATE)
    assert all(path.parent == public.path for path in paths[: len(PUBLIC)])
    assert all(path.parent == private.path for path in paths[len(PUBLIC) :])
    assert public.report_json.name == "budget-report.json"
    assert public.model.name == "model.safetensors"


def test_the_lists_here_are_complete() -> None:
    assert PublicFolder(Path("x")).parts == tuple(getattr(PublicFolder(Path("x")), name) for name in PUBLIC)
    for folder, names in ((PublicFolder, (*PUBLIC, "parts")), (PrivateFolder, PRIVATE)):
        assert {n for n, v in vars(folder).items() if isinstance(v, property)} == set(names)
