from pathlib import Path

from studio.data.description import describe
from studio.data.examples import Example


def example(name: str, size: tuple[int, int] = (512, 512), caption: str = "a cat") -> Example:
    return Example(Path(name), name, name, size, caption)


def test_each_bucket_says_how_many_pictures_and_what_the_crop_keeps() -> None:
    about = describe([example("a"), example("b", (640, 480)), example("c", (640, 480)), example("d", (1200, 300))], 512)
    shapes = {(bucket.width, bucket.height): (bucket.count, bucket.kept) for bucket in about.buckets}
    assert shapes[(512, 512)] == (1, 1.0)
    assert shapes[(576, 448)] == (2, 0.965)  # 597 × 448, of which 576 stay
    assert shapes[(1024, 256)] == (1, 1.0)


def test_a_square_crop_names_the_pictures_that_lose_much() -> None:
    (square,) = describe([example("a"), example("wide", (1024, 512)), example("wider", (1600, 400))], 512, enable_bucket=False).buckets
    assert (square.count, square.cropped) == (3, ("wider", "wide"))


def test_captions_are_counted_by_their_tokens_up_to_the_limit_and_beyond() -> None:
    texts = ["one", " ".join(["word"] * 15), " ".join(["word"] * 77), " ".join(["word"] * 78)]
    about = describe([example(str(place), caption=text) for place, text in enumerate(texts)], None, True, lambda text: len(text.split()), 77)
    assert about.tokens == {"1-10": 1, "11-20": 1, "61-77": 1, ">77": 1}


def test_tags_count_once_a_picture_and_only_where_they_come_back() -> None:
    about = describe([example("a", caption="sky, tree, sky"), example("b", caption="sky, a house")])
    assert about.tags == (("sky", 2),)
