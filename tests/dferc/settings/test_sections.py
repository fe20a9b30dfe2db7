import pytest

from dferc.core.errors import InputError
from dferc.settings.sections import class_weights


def test_class_weights_by_name_and_by_preset():
    classes, counts = ("happy", "neutral", "sad"), [3, 1, 2]
    assert class_weights({"neutral": 1.0, "other": 1.3}, classes, counts) == [1.3, 1.0, 1.3]
    assert class_weights("authors", classes, counts) == [1.0, 1.3, 1.3]
    assert class_weights("uniform", classes, counts) == [1.0, 1.0, 1.0]
    assert class_weights("balanced", classes, counts) == [6 / 9, 2.0, 1.0]


@pytest.mark.parametrize("setting", [{"nuetral": 1.0, "other": 1.3}, {"neutral": 1.0}])
def test_class_weights_name_what_is_no_class_or_has_no_weight(setting):
    with pytest.raises(InputError, match="not a class: (nuetral|none); without a weight: (none|happy, sad)"):
        class_weights(setting, ("happy", "neutral", "sad"), [0])
