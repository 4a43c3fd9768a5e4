"""The steps by name: one lazy import path each, so that knowing a step imports no runtime."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import json
from functools import cache
from typing import cast

from pydantic import ValidationError

from pt_core.artifacts.artifact import Precision, Step
from pt_core.artifacts.plugin import Format, Plugin, Quantizer, Rewrite
from pt_core.errors import ConfigError, PlanError
from pt_core.record import Record

ENTRY_POINT_GROUP = "pt_core.steps"
"""Packages add steps by entry points of this group: ``name = "module:RecordClass"``."""

BUILT_IN = {
    "torch": "pt_core.formats.torch_:TorchFormat",
    "torchscript": "pt_core.formats.torchscript:TorchScriptFormat",
    "exported": "pt_core.formats.exported:ExportedFormat",
    "compiled": "pt_core.formats.compiled:CompiledFormat",
    "bf16": "pt_core.formats.bf16:Bf16",
    "fused": "pt_core.formats.fused:Fused",
    "onnx": "pt_core.formats.onnx_:OnnxFormat",
    "openvino": "pt_core.formats.openvino_:OpenVinoFormat",
    "tensorrt": "pt_core.formats.tensorrt_:TensorRTFormat",
    "onnx-fp16": "pt_core.formats.onnx_fp16:OnnxFp16",
    "int8-static": "pt_core.quantizers.pt2e_static:Int8Static",
    "int8-qat": "pt_core.quantizers.qat:Int8Qat",
    "int8-dynamic": "pt_core.quantizers.int8_dynamic:Int8Dynamic",
    "onnx-int8-dynamic": "pt_core.quantizers.ort_dynamic:OnnxInt8Dynamic",
    "onnx-int8-static": "pt_core.quantizers.ort_static:OnnxInt8Static",
    "openvino-int8": "pt_core.quantizers.openvino_int8:OpenVinoInt8",
}
"""The steps that come with the product."""


def step_names() -> tuple[str, ...]:
    """Return the name of every registered step, built-ins first.

    Raises:
        ConfigError: two plugins claim one name; the message names both.
    """
    return tuple(_targets())


def make_step(step: Step) -> Plugin:
    """Return the plugin of a step with its options.

    Raises:
        PlanError: no step has this name; the message holds the nearest one that exists.
        ConfigError: an option is unknown or its value is refused; the details name each.
    """
    plugin = _plugin_type(step.name)
    try:
        # JSON in strict mode: "18" is no number and 1 is no boolean, but a list may be a tuple.
        made = plugin.model_validate_json(json.dumps(step.options), strict=True)
    except ValidationError as error:
        details = [_option_problem(dict(problem), plugin) for problem in error.errors(include_url=False)]
        raise ConfigError(f"{step.name}: {'; '.join(details)}", details=details) from error
    return cast(Plugin, made)


def make_format(name: str) -> Format:
    """Return the format of this name with default options, to load an artifact.

    Raises:
        PlanError: no format has this name.
    """
    plugin = make_step(Step(name=name))
    if isinstance(plugin, Quantizer | Rewrite):
        kind = "a quantizer" if isinstance(plugin, Quantizer) else "a rewrite"
        raise PlanError(f"{name}: is {kind}, expected a format; it writes format {plugin.target}")
    return plugin


def plugin_target(plugin: Plugin) -> str:
    """Return the name of the format that a plugin writes."""
    return plugin.target if isinstance(plugin, Quantizer | Rewrite) else plugin.name


def plugin_precision(plugin: Plugin) -> Precision | None:
    """Return the precision of what a plugin writes; ``None`` where it keeps its source's."""
    return "int8" if isinstance(plugin, Quantizer) else plugin.precision


def step_target(name: str) -> str:
    """Return the import path "module:class" of a registered step.

    Raises:
        PlanError: there is no such step.
    """
    if name not in _targets():
        raise PlanError(f"no step named {name!r}; {nearest(name, step_names())}")
    return _targets()[name]


def set_options(plugin: Plugin) -> Step:
    """Return the step of a plugin with only those options that differ from their defaults."""
    options = cast(Record, plugin).model_dump(mode="json", exclude_defaults=True)
    return Step(name=plugin.name, options=options)


def nearest(name: str, names: tuple[str, ...]) -> str:
    """Return a clause that helps after a typo: the nearest valid name, or all of them."""
    found = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {found[0]!r}?" if found else f"valid: {', '.join(names) or 'none'}"


@cache
def _targets() -> dict[str, str]:
    targets = dict(BUILT_IN)
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.value):
        taken = targets.setdefault(point.name, point.value)
        if taken != point.value:
            raise ConfigError(
                f"step {point.name!r} is claimed by {taken} and by {point.value}; rename or uninstall one of them"
            )
    return targets


def _plugin_type(name: str) -> type[Record]:
    target = step_target(name)
    module, _, attribute = target.partition(":")
    try:
        plugin = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"step {name!r}: {target} cannot be imported: {error}") from error
    if not (isinstance(plugin, type) and issubclass(plugin, Record)):
        raise ConfigError(f"step {name!r}: {target} is not a Record whose fields are its options")
    if getattr(plugin, "name", None) != name:
        raise ConfigError(
            f"step {name!r}: {target} calls itself {getattr(plugin, 'name', None)!r}, expected the same name"
        )
    return plugin


def _option_problem(problem: dict[str, object], plugin: type[Record]) -> str:
    location = cast(tuple[object, ...], problem["loc"])
    where = ".".join(["options", *map(str, location)])
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such option; {nearest(str(location[0]), tuple(plugin.model_fields))}"
    return f"{where}: {problem['msg']}, found {problem['input']!r}"
