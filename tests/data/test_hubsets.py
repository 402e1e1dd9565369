import io
from pathlib import Path

import pytest
from PIL import Image

from studio.data import album, hubsets
from studio.data.text.texts import UnknownColumnsError, gather
from studio.errors import DataError

pyarrow = pytest.importorskip("pyarrow")


def quiet(done: int, total: int) -> None:
    pass


def picture(colour: str, kind: str = "PNG") -> dict[str, object]:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, kind)
    return {"bytes": out.getvalue(), "path": None}


def packed(path: Path, **columns: list[object]) -> Path:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_pictures_and_captions_come_out_of_parquet(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.parquet", image=[picture("red"), picture("blue", "JPEG")], id=["x", "y"], text=["a red  square", None])
    folder = hubsets.unpacked([file], tmp_path / "out", quiet)
    assert album.open_album(folder).rows == [("000000.png", "a red square"), ("000001.jpg", "")]


def test_the_only_column_of_text_is_the_caption(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.parquet", image=[picture("red")], beschreibung=["ein Quadrat"])
    assert album.open_album(hubsets.unpacked([file], tmp_path / "out", quiet)).rows == [("000000.png", "ein Quadrat")]


def test_texts_come_out_of_parquet_in_their_columns(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    folder = hubsets.unpacked([packed(tmp_path / "a.parquet", id=[1, 2], messages=[talk, talk[:1]])], tmp_path / "out", quiet)
    assert [(row.form, row.example.whole) for row in gather(folder).rows] == [("messages", "hi\nhello"), ("messages", "hi")]
    folder = hubsets.unpacked([packed(tmp_path / "b.parquet", frage=["q"], antwort=["a"])], tmp_path / "two", quiet)
    with pytest.raises(UnknownColumnsError, match=r"frage \(q\); antwort \(a\)"):
        gather(folder)


def test_a_dataset_without_pictures_and_texts_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its columns are height, width"):
        hubsets.unpacked([packed(tmp_path / "a.parquet", height=[1], width=[2])], tmp_path / "out", quiet)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet"):
        hubsets.unpacked([tmp_path / "a.parquet"], tmp_path / "out", quiet)
