"""Which side (train, val or test) the name of a folder or a cell means.

Called by `layout.py`, `table.py` and others. A name alone proves nothing: a class may be called test or steam_train.
"""

import re
import unicodedata
from collections.abc import Sequence

from catseye.data.sources.image_set import TEST, TRAIN, VAL

_WORDS = {
    TRAIN: "train training trn trains trainings trainval learn learning "
    "entrenamiento entrainement apprentissage treino treinamento addestramento 训练 訓練 学習",
    VAL: "val valid validate validating validation dev devel development eval evaluate evaluation "
    "validierung validacion validacao validazione 验证 驗證 検証",
    TEST: "test testing tests tst holdout heldout prueba pruebas teste testes 测试 測試 テスト",
}
# Words that may be beside one of these without changing its meaning.
_FILLER_WORDS = (
    "set sets data dataset datasets images image imgs img pics pictures photos photo folder dir directory split "
    "splits part parts subset files file samples sample examples example seg new final raw full small resized "
    "cropped processed preprocessed clean orig original originals jpg jpeg png version v my all classes class "
    "main public private daten bilder satz datensatz s 集 数据集"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
# Folders beside splits or class folders that are neither.
_EXTRA_WORDS = (
    "sample samples example examples prediction predictions predicted predict preds pred docs doc documentation "
    "readme assets figures figure figs plots plot results result output outputs out logs log models model weights "
    "checkpoints notebooks scripts src code demo demos preview previews thumbnails thumbs thumb icons masks mask "
    "annotations annotation bboxes segmentations segmentation backup backups bak tmp temp cache unlabeled "
    "unlabelled inference submission submissions screenshots html runs reports report exports export metadata "
    "meta"
)
_EXTRAS = frozenset(_EXTRA_WORDS.split())
# Folders beside the images that describe them.
_DESCRIPTION_WORDS = (
    "mask masks annotation annotations annot annots label labels bboxes boxes segmentation segmentations segmented "
    "ground truth groundtruth gt trimap trimaps"
)
_DESCRIPTIONS = frozenset(_DESCRIPTION_WORDS.split())
# What a download that was packed in pieces calls them: part_1, batch 2, images_003.
_PART_WORDS = "part parts batch batches chunk chunks fold folds shard shards subset subsets volume vol disc disk"
_PARTS = frozenset(_PART_WORDS.split())
_IMAGE_WORDS = "images image imgs img pics pictures photos photo data dataset datasets files folder dir set sets"
_IMAGES = frozenset(_IMAGE_WORDS.split())
_SIDES = {word: side for side, words in _WORDS.items() for word in words.split()}
_FUSED = re.compile(
    rf"(?:seg)?({'|'.join(sorted(_SIDES, key=len, reverse=True))})"
    rf"(?:{'|'.join(sorted(_FILLERS, key=len, reverse=True))})*"
)


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case, without accents, digits and punctuation.

    >>> words_of("Seg_trainSet-2017"), words_of("Hold out")
    (['seg', 'train', 'set'], ['holdout'])
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter) or ord(letter) > 0x3000)
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).casefold()
    return re.findall(r"[^\W\d_]+", re.sub(r"\b(hold|held)[\W_]*out\b", "holdout", spaced.replace("_", " ")))


def side_of(name: str) -> tuple[int | None, tuple[str, ...]]:
    """The side that a name means, and the other words in it that mean something.

    >>> side_of("Train_Data"), side_of("validation"), side_of("steam train"), side_of("cat")
    ((0, ()), (1, ()), (0, ('steam',)), (None, ('cat',)))
    """
    sides, rest = set(), []
    for word in words_of(name):
        if match := _FUSED.fullmatch(word):
            sides.add(_SIDES[match.group(1)])
        elif word not in _FILLERS:
            rest.append(word)
    return (sides.pop() if len(sides) == 1 else None), tuple(rest)


def plain_side(name: str) -> int | None:
    """The side that a name means, if it means nothing else.

    >>> plain_side("Train_Data"), plain_side("steam train"), plain_side("cat")
    (0, None, None)
    """
    side, rest = side_of(name)
    return None if rest else side


def is_extra(name: str) -> bool:
    """Whether a folder of this name is most likely neither a split nor a class.

    >>> is_extra("seg_pred"), is_extra("Sample images"), is_extra("cat")
    (True, True, False)
    """
    words = words_of(name)
    return any(word in _EXTRAS for word in words) and all(word in _EXTRAS or word in _FILLERS for word in words)


def is_description(name: str) -> bool:
    """Whether a folder most likely describes the images beside it.

    >>> is_description("Annotations"), is_description("train_masks"), is_description("masked bandits")
    (True, True, False)
    """
    words = [word for word in words_of(name) if word not in _FILLERS and not _FUSED.fullmatch(word)]
    return bool(words) and all(word in _DESCRIPTIONS for word in words)


def are_parts(names: Sequence[str]) -> bool:
    """Whether names differ only in a number and mean parts, or just images.

    >>> are_parts(["HAM10000_images_part_1", "HAM10000_images_part_2"]), are_parts(["images_001", "images_002"])
    (True, True)
    >>> are_parts(["class 1", "class 2"]), are_parts(["1", "2"]), are_parts(["batch_1", "cat_1"])
    (False, False, False)
    """
    if len(names) < 2:
        return False
    words = words_of(names[0])
    alike = all(words_of(name) == words for name in names)
    return alike and (not _PARTS.isdisjoint(words) or (bool(words) and _IMAGES.issuperset(words)))


def is_filler(word: str) -> bool:
    """Whether a word of `words_of` says nothing about the content of a folder.

    >>> is_filler("images"), is_filler("cat")
    (True, False)
    """
    return word in _FILLERS


def mentions_extra(name: str) -> bool:
    """Whether any word of the name is usual for such folders.

    >>> mentions_extra("lung masks"), mentions_extra("lungs")
    (True, False)
    """
    return any(word in _EXTRAS for word in words_of(name))


def is_wrapper(name: str) -> bool:
    """Whether a folder of this name most likely holds classes and is not a class.

    >>> is_wrapper("Dataset"), is_wrapper("raw_images"), is_wrapper("cat")
    (True, True, False)
    """
    words = words_of(name)
    return bool(words) and all(word in _FILLERS for word in words)
