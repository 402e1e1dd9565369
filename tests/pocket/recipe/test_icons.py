from studio.pocket.recipe import icons

SET = {
    "icons": {
        "fox": {"body": '<path fill="currentColor"/>'},
        "owl": {"body": "<path/>", "width": 16, "left": 2},
        "woman-cook": {"body": ""},
        "waving-hand-light": {"body": ""},
    },
    "aliases": {"night-bird": {"parent": "owl"}},
    "width": 32,
    "height": 32,
}


def test_people_and_skin_tones_are_left_out():
    assert icons.chosen(SET, SET) == ["fox", "night-bird", "owl"]


def test_only_what_both_sets_have_is_chosen():
    assert icons.chosen(SET, {"icons": {"owl": {}, "cat": {}}}) == ["owl"]


def test_an_icon_becomes_a_document_with_its_own_box():
    assert 'viewBox="0 0 32 32"' in icons.svg(SET, "fox")
    assert 'fill="#000"' in icons.svg(SET, "fox")
    assert 'viewBox="2 0 16 32"' in icons.svg(SET, "owl")


def test_an_alias_is_drawn_as_what_it_stands_for():
    assert icons.svg(SET, "night-bird") == icons.svg(SET, "owl")


def test_an_unknown_icon_has_no_document():
    assert icons.svg(SET, "zebra") is None
