"""File names made of image names: readable where they can be, unique and harmless always."""

import os

import pytest

from autolabel.exports.file_names import Stems
from tests.support.adversarial_names import NO_KEYS, NO_PATHS, ON_DISK


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.jpg", "a"),
        ("left/a.b.jpg", "left/a.b"),
        ("v1.2/a", "v1.2/a"),
        (".hidden", ".hidden"),
        ("猫/é.jpg", "猫/é"),
        ("a b.jpg", "a b"),
        ("../up.jpg", None),
        ("x/../y.jpg", None),
        ("x/./y.jpg", None),
        ("a//b.jpg", None),
        ("/etc/passwd", None),
        ("..jpg", None),
        ("s3://bucket/a.jpg", None),
        ("by-id/000000000007.jpg", None),
        ("new\nline.jpg", None),
        ("\u2028.jpg", None),
        ("x\0.jpg", None),
        ("a.txt/b.jpg", None),
        ("n" * 250 + ".jpg", None),
        ("/".join(["n" * 100] * 7), None),
    ],
)
def test_a_name_that_will_do_is_kept(name: str, stem: str | None) -> None:
    assert Stems([name]).of(7, name) == (stem or "by-id/000000000007")


def test_images_that_would_share_a_name_go_by_their_ids() -> None:
    names = ["a.jpg", "a.png", "b/a.jpg", "a"]
    stems = Stems(names)
    found = [stems.of(n, name) for n, name in enumerate(names, start=1)]
    assert found == ["by-id/000000000001", "by-id/000000000002", "b/a", "by-id/000000000004"]


def test_adversarial_names_stay_apart_and_in_their_folder() -> None:
    names = [*ON_DISK, *NO_KEYS, *NO_PATHS]
    stems = Stems(names)
    found = [stems.of(n, name) for n, name in enumerate(names, start=1)]
    assert len(set(found)) == len(names)
    for stem in found:
        assert os.path.normpath(f"/own/folder/{stem}.json") == f"/own/folder/{stem}.json"
        assert stem.splitlines() == [stem]


def test_names_that_a_reader_mistakes_go_by_their_ids() -> None:
    stems = Stems(["images/a.jpg", "b.JPG", "c.gif"], wanted=r"(?!images/).*\.jpg")
    assert [stems.of(1, "images/a.jpg"), stems.of(2, "b.JPG"), stems.of(3, "c.gif")] == [
        "by-id/000000000001",
        "b",
        "by-id/000000000003",
    ]
