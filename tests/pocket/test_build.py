import pytest

from studio.errors import InputError, MachineError
from studio.pocket import build


def test_a_stage_whose_result_is_there_is_skipped(tmp_path, capsys):
    build.build(tmp_path / "out", tmp_path / "work", ["tokenizer"])
    build.build(tmp_path / "out", tmp_path / "work", ["tokenizer"])
    assert "there already" in capsys.readouterr().out
    assert (tmp_path / "work" / "tokenizer" / "merges.txt").exists()


def test_what_an_interrupted_stage_left_is_made_anew(tmp_path):
    (tmp_path / "unfinished-tokenizer").mkdir()
    (tmp_path / "unfinished-tokenizer" / "half").touch()
    build.build(tmp_path / "out", tmp_path, ["tokenizer"])
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == ["merges.txt", "tokenizer_config.json", "vocab.json"]


def test_finished_parts_replace_those_in_the_output(tmp_path):
    work, output = tmp_path / "work", tmp_path / "out"
    for folder in (work / "samples" / "gameboy", output / "samples" / "older"):
        folder.mkdir(parents=True)
    build.build(output, work, ["samples"])
    assert [path.name for path in (output / "samples").iterdir()] == ["gameboy"]


def test_a_missing_program_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="npm"):
        build.build(tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_missing_earlier_result_is_named(tmp_path):
    with pytest.raises(InputError, match="judge needs what the stage render makes"):
        build.build(tmp_path / "out", tmp_path / "work", ["judge"])


def test_the_command_line_reports_an_error_without_a_traceback(tmp_path, capsys):
    status = build.main(["--only", "unet", "--work", str(tmp_path), "--minutes-unet", "1"])
    assert status == 2
    assert "Add latents to --only" in capsys.readouterr().err


def test_minutes_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        build.main(["--minutes-vae", "0"])
    assert "must be more than 0" in capsys.readouterr().err


def test_no_stage_comes_before_what_it_needs():
    order = list(build.STAGES)
    assert all(order.index(earlier) < order.index(name) for name, stage in build.STAGES.items() for earlier in stage.needs)


def test_results_go_nowhere_near_the_shipped_files_unless_told():
    options = build.parser().parse_args([])
    assert "studio" not in {*options.output.parts, *options.work.parts}
