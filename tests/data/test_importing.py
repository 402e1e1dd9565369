import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data.importing import archive_findings, open_folder
from studio.data.problems import FaultyDataError

Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def write(*entries: tuple[str | zipfile.ZipInfo, bytes], name: str = "data.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries:
                archive.writestr(entry, content)
        return tmp_path / name

    return write


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def refusal(source: Path, store: Path) -> str:
    with pytest.raises(FaultyDataError) as caught:
        open_folder(source, store)
    assert caught.value.fix
    assert not store.exists() or not list(store.iterdir())
    return caught.value.what


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_taken_as_it_is(tmp_path: Path, store: Path) -> None:
    (tmp_path / "a.png").touch()
    assert open_folder(tmp_path, store) == tmp_path
    assert archive_findings(tmp_path) == ()
    assert not store.exists()


def test_a_zip_is_unpacked_once_for_the_same_bytes(pack: Pack, store: Path) -> None:
    source = pack(("a.png", b"a"), ("sub/b.png", b"b"), ("sub/", b""))
    folder = open_folder(source, store)
    assert folder.parent == store
    assert len(folder.name) == 16
    assert names(folder) == ["a.png", "sub/b.png"]
    (folder / "a.png").write_bytes(b"edited")
    assert open_folder(source.rename(source.with_name("other.dat")), store) == folder
    assert (folder / "a.png").read_bytes() == b"edited"
    assert [path.name for path in store.iterdir()] == [folder.name]


def test_a_single_folder_at_the_top_is_stepped_into(pack: Pack, store: Path) -> None:
    folder = open_folder(pack(("cats/a.png", b"a"), ("cats/x/b.png", b"b"), ("__MACOSX/cats/._a.png", b"")), store)
    assert folder.name == "cats"
    assert names(folder) == ["a.png", "x/b.png"]


def test_hidden_files_and_archives_are_left_out(pack: Pack, store: Path) -> None:
    source = pack(("a.png", b"a"), (".DS_Store", b""), (".git/config", b""), ("__MACOSX/._a.png", b""), ("more.zip", b"PK"))
    assert names(open_folder(source, store)) == ["a.png"]
    assert [problem.file for problem in archive_findings(source)] == ["more.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_with_one_name_the_first_is_used(pack: Pack, store: Path) -> None:
    source = pack(("a.png", b"first"), ("a.png", b"second"), ("./a.png", b"third"))
    assert (open_folder(source, store) / "a.png").read_bytes() == b"first"
    assert [problem.severity for problem in archive_findings(source)] == ["warning", "warning"]


def test_backslashes_between_folders_are_understood(pack: Pack, store: Path) -> None:
    assert names(open_folder(pack(("x\\a.png", b"a"), ("b.png", b"b")), store)) == ["b.png", "x/a.png"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png", "C:evil.png", "\\\\host\\evil.png"]
)
def test_names_that_lead_outside_refuse_the_whole_zip(pack: Pack, store: Path, name: str, tmp_path: Path) -> None:
    source = pack(("good.png", b"a"), (name, b"evil"))
    assert "would be written outside" in refusal(source, store)
    assert names(tmp_path) == ["data.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(pack: Pack, store: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (kind | 0o777) << 16
    assert "link or a device" in refusal(pack((info, b"/etc/passwd")), store)


def test_a_locked_zip_is_refused(pack: Pack, store: Path) -> None:
    source = pack(("a.png", b"a"))
    raw = bytearray(source.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(raw)
    assert "password" in refusal(source, store)


def test_a_bomb_is_refused_before_anything_is_written(pack: Pack, store: Path) -> None:
    source = pack(("zeros.png", bytes(40 * 1024**2)))
    assert source.stat().st_size < 50_000
    assert "times its size" in refusal(source, store)


def test_a_small_drawing_that_compresses_well_is_no_bomb(pack: Pack, store: Path) -> None:
    assert (open_folder(pack(("flat.bmp", bytes(1_000_000))), store) / "flat.bmp").stat().st_size == 1_000_000


def patched(source: Path, size: int) -> Path:
    raw = bytearray(source.read_bytes())
    raw[22:26] = struct.pack("<I", size)
    start = raw.index(b"PK\x01\x02") + 24
    raw[start : start + 4] = struct.pack("<I", size)
    source.write_bytes(raw)
    return source


def test_a_size_that_lies_is_refused_and_nothing_stays(pack: Pack, store: Path) -> None:
    assert "damaged" in refusal(patched(pack(("a.png", bytes(100_000))), 10), store)
    assert "times its size" in refusal(patched(pack(("a.png", bytes(100_000))), 0xFFFF0000), store)


def test_a_total_beyond_the_limit_is_refused(pack: Pack, store: Path) -> None:
    source = pack(*((f"{index}.png", b"x") for index in range(9)))
    raw = bytearray(source.read_bytes())
    at = -1
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:
        raw[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    source.write_bytes(raw)
    assert "would unpack to 35 GB" in refusal(source, store)


def test_too_many_entries_are_refused(pack: Pack, store: Path) -> None:
    assert "has 20001 entries" in refusal(pack(*((str(index), b"") for index in range(20_001))), store)


def test_a_number_of_entries_that_needs_zip64_is_refused_unread(pack: Pack, store: Path) -> None:
    source = pack(("a.png", b"a"))
    raw = source.read_bytes()
    end = raw.index(b"PK\x05\x06")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, 0, 0)
    for at in (end, 2**64 - 1):
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
        source.write_bytes(raw[:end] + record + locator + raw[end : end + 8] + b"\xff\xff\xff\xff" + raw[end + 12 :])
        assert ("has 1000000 entries" in refusal(source, store)) == (at == end)


def test_a_damaged_zip_is_refused_and_nothing_stays(pack: Pack, store: Path) -> None:
    source = pack(("a.png", os.urandom(1000)))
    raw = bytearray(source.read_bytes())
    raw[200] ^= 255
    source.write_bytes(raw)
    assert "damaged" in refusal(source, store)
    source.write_bytes(raw[:500])
    assert "neither a folder nor a whole zip" in refusal(source, store)


def test_every_other_source_is_refused_with_what_to_do(tmp_path: Path, store: Path, pack: Pack) -> None:
    assert "no such folder or file" in refusal(tmp_path / "none", store)
    (tmp_path / "empty").mkdir()
    assert "folder is empty" in refusal(tmp_path / "empty", store)
    (tmp_path / "zero.zip").touch()
    assert "empty (0 bytes)" in refusal(tmp_path / "zero.zip", store)
    (tmp_path / "text.csv").write_text("a,b")
    assert "neither a folder nor" in refusal(tmp_path / "text.csv", store)
    assert "no files in the zip" in refusal(pack((".hidden", b"")), store)
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder nor" in refusal(tmp_path / "pipe", store)


def test_a_zip_needs_a_place_to_go(pack: Pack) -> None:
    with pytest.raises(FaultyDataError, match="no folder to unpack it to"):
        open_folder(pack(("a.png", b"a")), None)
