"""A pipeline of one stage, whose inputs are manifests that earlier runs left."""

import inspect
import json
from collections.abc import Collection, Mapping
from typing import Any

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Model
from kfp.dsl.types.type_utils import is_parameter_type

from components.placement import place
from components.tasks import stage_name
from privadv.cluster import Cluster
from privadv.code_version import code_version
from privadv.errors import PrivadvError

ARTIFACTS = {kind.schema_title: kind for kind in (Artifact, Dataset, Model)}
PARAMETERS = {"String": str, "Integer": int, "List": list}
OURS = ("code", "nonce")


def define_one(stage: Any, cluster: Cluster, given: Collection[str]) -> Any:
    """The pipeline of ``stage`` alone.

    Its parameters are those of the component (``nonce`` is called ``rerun``); in the place of an artifact stands
    ``<name>_uri``, the URI of its manifest. An input that the stage can do without is left out unless ``given``.

    Raises:
        PrivadvError: ``given`` names what is no input of the stage.
    """
    name = stage_name(stage)
    specs = {key: spec for key, spec in stage.component_spec.inputs.items() if key not in OURS}
    for unknown in given - specs.keys():
        raise PrivadvError(f"--input {unknown}: {name} has no such input: one of {', '.join(specs)}")
    specs = {key: spec for key, spec in specs.items() if not spec.optional or key in given}
    artifacts = {key: ARTIFACTS[spec.type.partition("@")[0]] for key, spec in specs.items()
                 if not is_parameter_type(spec.type)}
    names = {key: f"{key}_uri" if key in artifacts else key for key in specs}

    def alone(*values: Any) -> None:
        parameters = dict(zip([*names, "rerun"], values, strict=True))
        nonce = parameters.pop("rerun")
        inputs = {key: _manifest(value, artifacts[key], key) if key in artifacts else value
                  for key, value in parameters.items()}
        place(stage(code=code_version(name), nonce=nonce, **inputs), name, cluster)

    kinds = {names[key]: str if key in artifacts else PARAMETERS[spec.type.partition("[")[0]] for key, spec in specs.items()}
    signature = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
                 for key, kind in {**kinds, "rerun": str}.items()]
    alone.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]  kfp reads parameters there
    return dsl.pipeline(name=f"privadv-{stage.name}", description=f"The stage {name} alone.")(alone)


def values(stage: Any, given: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters' defaults: what is ``given`` as text, over ``defaults`` as far as the stage has such inputs.

    Raises:
        PrivadvError: a list or a number is not written as one.
    """
    specs = stage.component_spec.inputs
    made = {key: value for key, value in defaults.items() if key in specs or key == "rerun"}
    for key, text in given.items():
        if not is_parameter_type(specs[key].type):
            made[f"{key}_uri"] = text
        elif specs[key].type == "String":
            made[key] = text
        else:
            try:
                made[key] = json.loads(text)
            except ValueError:
                raise PrivadvError(f"--input {key}={text}: write it as JSON") from None
    return made


def _manifest(uri: Any, kind: type[Artifact], name: str) -> Any:
    imported = dsl.importer(artifact_uri=uri, artifact_class=kind, reimport=False)
    return imported.set_display_name(name).output
