import json
import os

import pytest

from sentiment.errors import ModelError
from sentiment.manifest import SERVED_FILES, file_sha256, renew_entry, verify_manifest
from sentiment.manifest import write_manifest as seal
from sentiment.models import read_model

FILES = {
    "README.md": "A card.",
    "config.json": json.dumps({"id2label": {"0": "positive", "1": "negative"}}),
    "model.safetensors": "weights",
    "tokenizer.json": "{}",
    "training.json": "{}",
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_text(content)
    (path / "plots").mkdir()
    seal(path)
    return path


def test_it_names_size_and_digest_of_every_file_but_itself_and_the_card(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sentiment_manifest"] == 1
    assert list(manifest["files"]) == sorted({*FILES} - {"README.md"})
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": len(FILES[name]), "sha256": file_sha256(folder / name)}


def test_a_folder_as_it_was_written_is_the_one_that_it_names(folder):
    digests = verify_manifest(folder)
    assert digests == {name: file_sha256(folder / name) for name in {*FILES} - {"README.md"}}


def test_a_folder_without_a_manifest_is_taken_as_it_is(folder):
    (folder / "manifest.json").unlink()
    (folder / "config.json").write_text("{}")
    assert verify_manifest(folder) == {}


@pytest.mark.parametrize("name", sorted({*FILES} - {"README.md"}))
@pytest.mark.parametrize("content", ["", "longer than it was", "weighta", "[]"])
def test_any_other_content_of_a_file_is_refused_by_name(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match=rf"{name}: not the file that manifest\.json names"):
        verify_manifest(folder)


@pytest.mark.parametrize("name", sorted({*SERVED_FILES} - {*FILES}))
def test_a_file_that_the_server_would_read_must_be_named(folder, name):
    (folder / name).write_text("")
    with pytest.raises(ModelError, match=rf"{name}: manifest\.json does not name it"):
        verify_manifest(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_is_served_may_not_be_absent(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: manifest\.json names it, but it is absent"):
        verify_manifest(folder)


def test_weights_that_nobody_reads_may_be_absent(folder):
    (folder / "pytorch_model.bin").write_text("pickle")
    seal(folder)
    (folder / "pytorch_model.bin").unlink()
    assert verify_manifest(folder)


def test_weights_that_are_absent_are_not_replaced_by_others_in_silence(folder):
    (folder / "pytorch_model.bin").write_text("pickle")
    seal(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: .* but it is absent"):
        read_model(folder, name="m")


def test_a_record_may_be_absent_and_a_card_be_edited_and_a_note_be_added(folder):
    (folder / "training.json").unlink()
    (folder / "README.md").write_text("A better card.")
    (folder / "notes.txt").write_text("Ask Kim.")
    assert "training.json" not in verify_manifest(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"sentiment_manifest": 2, "files": {}}', "of another version than 1"),
        ('{"sentiment_manifest": 1}', 'expected "files"'),
        ('{"sentiment_manifest": 1, "files": []}', 'expected "files"'),
        ('{"sentiment_manifest": 1, "files": {"config.json": "abc"}}', 'expected "files"'),
        ('{"sentiment_manifest": 1, "files": {"config.json": {"bytes": 1}}}', 'expected "files"'),
        (
            '{"sentiment_manifest": 1, "files": {"../x": {"bytes": 1, "sha256": ""}}}',
            'expected "files"',
        ),
    ],
)
def test_a_damaged_manifest_is_refused(folder, content, message):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ModelError, match=rf"manifest\.json: {message}"):
        verify_manifest(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"name": "a web page", "icons": []}'])
def test_another_programs_file_of_that_name_is_none_of_ours(folder, content):
    (folder / "manifest.json").write_text(content)
    (folder / "config.json").write_text("{}")
    assert verify_manifest(folder) == {}


def test_the_weights_are_read_once_for_manifest_and_revision(folder, monkeypatch):
    read = []
    digest = file_sha256

    def counted(path):
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr("sentiment.manifest.file_sha256", counted)
    monkeypatch.setattr("sentiment.models.file_sha256", counted)
    model = read_model(folder, name="m")
    assert model.revision == model.weights_sha256[:12] == digest(folder / "model.safetensors")[:12]
    assert read.count("model.safetensors") == 1


def test_a_calibration_that_is_added_on_purpose_is_named_from_then_on(folder):
    path = folder / "int8.safetensors"
    path.write_text("scales")
    renew_entry(path)
    assert verify_manifest(folder)["int8.safetensors"] == file_sha256(path)
    path.write_text("better scales")
    renew_entry(path)
    assert verify_manifest(folder)["int8.safetensors"] == file_sha256(path)


def test_what_is_written_beside_a_model_for_others_leaves_the_manifest_alone(folder):
    before = (folder / "manifest.json").read_bytes()
    (folder / "scales").write_text("")
    renew_entry(folder / "scales")
    assert (folder / "manifest.json").read_bytes() == before


def test_a_folder_without_a_manifest_gets_none_by_an_added_file(folder):
    (folder / "manifest.json").unlink()
    renew_entry(folder / "config.json")
    assert not (folder / "manifest.json").exists()


def test_a_manifest_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        seal(folder)
    after = sorted((path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file())
    assert after == before
