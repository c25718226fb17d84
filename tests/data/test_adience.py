"""The Adience reader on a made-up folder of the published layout."""

from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.adience import GROUPS, read
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.errors import DataError, UsageError

HEADER = (
    "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\t"
    "fiducial_yaw_angle\tfiducial_score\n"
)
REST = "\tf\t0\t414\t1086\t1383\t-115\t30\t17\n"
AGES = ["(0, 2)", "(8, 12)", "(25, 32)", "(38, 43)", "(60, 100)"]  # one face a fold


def add(root: Path, fold: int, lines: list[tuple[str, str, str, str]], name: str = "fold") -> None:
    """Lines of (user, image, face, age) for a fold, and their pictures."""
    path = root / f"{name}_{fold}_data.txt"
    text = path.read_text() if path.is_file() else HEADER
    for user, image, face, age in lines:
        text += f"{user}\t{image}\t{face}\t{age}{REST}"
        (root / "aligned" / user).mkdir(parents=True, exist_ok=True)
        (root / "aligned" / user / f"landmark_aligned_face.{face}.{image}").touch()
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for fold, age in enumerate(AGES):
        add(folder, fold, [(f"{fold}@N0", f"{fold}_o.jpg", str(7 + fold), age)])
    return folder


def groups(data: Labelled) -> list[str]:
    return [GROUPS[int(value)] for value in data.labels[0].values]


def test_faces_of_all_folds(root: Path) -> None:
    data = catalogue.read("adience", root)
    assert data.paths[3] == root / "aligned" / "3@N0" / "landmark_aligned_face.10.3_o.jpg"
    assert data.keys[3] == "adience/aligned/3@N0/landmark_aligned_face.10.3_o.jpg"
    assert data.groups == ("0@N0", "1@N0", "2@N0", "3@N0", "4@N0")
    assert groups(data) == ["0-2", "8-12", "25-32", "38-43", "60-100"]
    (labels,) = data.labels
    assert (labels.task, labels.unit, labels.range) == ("age", "age group", (0, 7))
    assert labels.classes == GROUPS
    assert labels.prompt == "sort images by the person's age group."


@pytest.mark.parametrize("fold", range(5))
def test_the_asked_fold_is_the_test_part(root: Path, fold: int) -> None:
    data = read(root, ReadOptions(fold=fold))
    assert data.rows("test").tolist() == [fold]


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_there_is_not(root: Path, fold: int) -> None:
    with pytest.raises(UsageError, match=f"folds 0 to 4, not {fold}"):
        read(root, ReadOptions(fold=fold))


def test_validation_is_a_tenth_of_the_other_folds_by_user(root: Path) -> None:
    users = [f"{n}@N1" for n in range(300)]
    faces = [(user, f"{n}.jpg", str(n), "(4, 6)") for n in range(2) for user in users]
    add(root, 1, faces)
    first, second = read(root, ReadOptions(fold=0)), read(root, ReadOptions(fold=2))
    held_back = [first.groups[n] for n in first.rows("validation") if first.groups[n] in users]
    assert 15 <= len(set(held_back)) <= 50  # about 30 of 300
    assert len(held_back) == 2 * len(set(held_back))  # both faces of each
    again = [second.groups[n] for n in second.rows("validation") if second.groups[n] in users]
    assert again == held_back


@pytest.mark.parametrize(
    ("age", "group"),
    [
        ("(25, 23)", "25-32"),
        ("(27, 32)", "25-32"),
        ("(38, 42)", "38-43"),
        ("(38, 48)", "38-43"),
        ("2", "0-2"),
        ("3", "0-2"),
        ("13", "8-12"),
        ("22", "15-20"),
        ("23", "25-32"),
        ("35", "38-43"),
        ("36", "38-43"),
        ("46", "48-53"),
        ("56", "48-53"),
        ("57", "60-100"),
        ("(15, 20)", "15-20"),
        ("(48, 53)", "48-53"),
    ],
)
def test_odd_ages_go_to_the_nearest_group(root: Path, age: str, group: str) -> None:
    add(root, 0, [("odd@N0", "odd.jpg", "1", age)])
    assert groups(read(root, ReadOptions()))[1] == group


@pytest.mark.parametrize("age", ["None", "", "(8, 23)"])
def test_what_is_no_label_is_left_out(root: Path, age: str) -> None:
    add(root, 0, [("odd@N0", "odd.jpg", "1", age)])
    lines: list[str] = []
    assert len(read(root, ReadOptions(report=lines.append))) == 5
    assert lines[1] == "adience: 1 faces have no age group and are left out"


def test_pictures_as_found_and_not_aligned_in_the_plane(root: Path) -> None:
    (root / "aligned").rename(root / "faces")
    for path in (root / "faces").rglob("*.jpg"):
        path.rename(path.with_name(path.name.replace("landmark_", "coarse_tilt_")))
    data = read(root, ReadOptions())
    assert data.paths[0] == root / "faces" / "0@N0" / "coarse_tilt_aligned_face.7.0_o.jpg"


def test_frontal_lists_alone(root: Path) -> None:
    for fold in range(5):
        (root / f"fold_{fold}_data.txt").rename(root / f"fold_frontal_{fold}_data.txt")
    lines: list[str] = []
    assert len(read(root, ReadOptions(report=lines.append))) == 5
    assert lines == ["adience: 5 faces of fold_frontal_*_data.txt"]


def test_the_lists_of_l2rclip_go_before_the_others(root: Path) -> None:
    for fold in range(5):
        line = f"{fold}@N0/landmark_aligned_face.{7 + fold}.{fold}_o.jpg {7 - fold}\n"
        (root / f"simplified_adience_{fold}.txt").write_text(line)
    data = read(root, ReadOptions(fold=4))
    assert data.labels[0].values.tolist() == [7, 6, 5, 4, 3]
    assert data.paths[4] == root / "aligned" / "4@N0" / "landmark_aligned_face.11.4_o.jpg"
    assert data.parts[4] == "test"
    (root / "simplified_adience_2.txt").write_text("\n2@N0/face.jpg 8\n")
    with pytest.raises(DataError, match=r"adience_2\.txt, line 2: not USER/landmark"):
        read(root, ReadOptions())


def test_what_is_wrong_is_named(root: Path) -> None:
    add(root, 3, [("odd@N0", "odd.jpg", "1", "(1, 99)")])
    with pytest.raises(DataError, match=r"fold_3_data.txt, line 3: '\(1, 99\)' is no age"):
        read(root, ReadOptions())
    (root / "fold_3_data.txt").write_text("user_id\tage\n")
    with pytest.raises(DataError, match="has no column original_image, face_id"):
        read(root, ReadOptions())
    (root / "fold_3_data.txt").unlink()
    with pytest.raises(DataError, match=r"fold_3_data\.txt is missing: adience needs the lists"):
        read(root, ReadOptions())


def test_missing_pictures(root: Path) -> None:
    (root / "aligned" / "3@N0" / "landmark_aligned_face.10.3_o.jpg").unlink()
    with pytest.raises(DataError, match=r"adience: 1 of 5 pictures are missing:\n.*10\.3_o"):
        read(root, ReadOptions())
    data = read(root, ReadOptions(fold=4, partial=True))
    assert groups(data) == ["0-2", "8-12", "25-32", "60-100"]
    assert data.rows("test").tolist() == [3]
    (root / "aligned").rename(root / "crops")
    with pytest.raises(DataError, match="holds neither aligned nor faces"):
        read(root, ReadOptions())


def test_a_folder_too_high_or_too_deep(root: Path) -> None:
    with pytest.raises(DataError, match=rf"It is in {root}: name that folder"):
        read(root.parent, ReadOptions())
    with pytest.raises(DataError, match=rf"It is one folder above: name {root}\."):
        read(root / "aligned", ReadOptions())
