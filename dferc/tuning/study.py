"""The study of a search: its storage, what it was made with, and settings as Optuna's distributions.

Optuna is an extra, imported where it is used.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dferc.core.errors import InputError
from dferc.core.records import differences
from dferc.core.sources import code_hash
from dferc.settings.sections import DEFAULTS, Range, Train, Tune
from dferc.store.rows import CachedCorpus
from dferc.training.data import training_targets
from dferc.training.task import describe_run

if TYPE_CHECKING:
    import optuna

ABOUT = "dferc"  # user attribute of a study: `describe_study`


def require_optuna() -> Any:
    """Import and return Optuna, silent but for warnings.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError(f"dferc tune needs {error.name}, which is not installed: pip install '.[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def describe_study(corpus: CachedCorpus, settings: Train, tune: Tune, device: str) -> dict:
    """Return everything on which the value of a trial depends, but its own settings."""
    about = describe_run(corpus, tune.variant, settings)
    if {"attention_layers", "normalisation"} & set(tune.space):
        about["speakers"] = corpus.utterances.speakers_hash
    if "labels" in tune.space and corpus.utterances.votes is not None:
        about["votes"] = hashlib.sha256(training_targets(corpus.utterances).tobytes()).hexdigest()[:16]
    fixed = {name: value for name, value in about["settings"].items() if name not in tune.space}
    space = {name: search if isinstance(search, list) else search.model_dump() for name, search in tune.space.items()}
    about |= {"settings": fixed, "space": space, "seeds": tune.seeds, "device": device}
    return about | {"code": code_hash("dferc.training.run")}


def open_study(storage: str, name: str, about: Mapping, sampler_seed: int) -> "optuna.Study":
    """Open or create a study, and check that it was made with the same corpus, code and search space.

    Args:
        storage: URL of a database.
        name: of the study.
        about: `describe_study`.
        sampler_seed: of the search; a study that goes on draws anew from what is known.

    Raises:
        InputError: the storage cannot be opened, or the study is another one.
    """
    optuna = require_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    about = json.loads(json.dumps(about))  # as it comes back
    try:
        sampler = optuna.samplers.TPESampler(seed=sampler_seed, constant_liar=True)
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", sampler=sampler, load_if_exists=True
        )
        found = study.user_attrs.get(ABOUT)
        if found is None and not study.trials:
            study.set_user_attr(ABOUT, about)
            return study
        if study.trials:  # else the first draws would be those that are there already
            study.sampler = optuna.samplers.TPESampler(seed=sampler_seed + len(study.trials), constant_liar=True)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, optuna.exceptions.OptunaError) as error:
        raise InputError(
            f"the storage {_without_password(storage)} cannot be used: {str(error).splitlines()[0]:.200}. Expected "
            "sqlite:///FILE, or the URL of a database that runs, with its driver installed."
        ) from None
    if found is None:
        raise InputError(f"the study {name!r} in {_without_password(storage)} is none of dferc. Choose another --name.")
    if differ := list(differences(found, about)):
        listed = "\n".join(f"  - {key}: {one!r:.60} then, {two!r:.60} now" for key, one, two in differ[:12])
        more = f"\n  - and {len(differ) - 12} more" if len(differ) > 12 else ""
        raise InputError(
            f"the study {name!r} in {_without_password(storage)} was made with other data, code or settings; its "
            f"values cannot be compared with new ones:\n{listed}{more}\nBegin another study (--name NEW), or bring "
            "back what differs."
        )
    return study


def _without_password(storage: str) -> str:
    scheme, slashes, rest = storage.partition("://")
    return f"{scheme}{slashes}…@{rest.rpartition('@')[2]}" if "@" in rest else storage


def distributions(space: Mapping[str, Range | list]) -> dict:
    """Return Optuna's distributions by setting; choices that are no scalars are JSON texts, see `decode`."""
    optuna = require_optuna()
    found = {}
    for name, search in space.items():
        if isinstance(search, list):
            found[name] = optuna.distributions.CategoricalDistribution([_encode(choice) for choice in search])
        elif type(getattr(DEFAULTS, name)) is int:
            found[name] = optuna.distributions.IntDistribution(search.low, search.high, log=search.log)
        else:
            found[name] = optuna.distributions.FloatDistribution(search.low, search.high, log=search.log)
    return found


def _encode(choice: object) -> object:
    return choice if isinstance(choice, str | int | float | None) else json.dumps(choice)


def decode(params: Mapping[str, object], space: Mapping[str, Range | list]) -> dict:
    """Return settings of a trial's parameters."""
    settings = {}
    for name, value in params.items():
        choices, default = space[name], getattr(DEFAULTS, name)
        if isinstance(choices, list):
            value = next(choice for choice in choices if _encode(choice) == value)
        settings[name] = float(value) if type(default) is float else value
    return settings
