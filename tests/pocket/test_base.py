import json

from studio import pocket


def test_no_file_is_too_large_for_a_plain_repository():
    files = [path for path in pocket.FOLDER.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.stat().st_size > 9_500_000} == set()


def test_the_pipeline_opens_with_the_words_of_its_text_encoder(pipeline):
    assert len(pipeline.tokenizer) == pipeline.text_encoder.config.vocab_size == 1234
    assert pipeline.unet.config.sample_size * 4 == pipeline.vae.config.sample_size == 64


def test_prompts_beyond_the_vocabulary_still_have_an_end(pipeline):
    ids = pipeline.tokenizer("a zebra", padding="max_length", truncation=True).input_ids
    assert len(ids) == 24
    assert ids[-1] == pipeline.tokenizer.eos_token_id


def test_the_base_names_no_file_of_the_machine_that_made_it():
    configs = [path.read_text(encoding="utf-8") for path in pocket.BASE.rglob("*.json")]
    assert all("/" not in json.loads(text).get("_name_or_path", "") for text in configs)
