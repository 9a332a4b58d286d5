"""What no type or range can say: values that do not go together, and names that no part of the runtime knows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from fer_edge.configuration.schema import Config
from fer_edge.errors import FerEdgeError


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the dotted key at fault and what to do about it, for each contradiction in ``config``."""
    detection = config.detection
    if detection.backend == "yunet" and detection.yunet_model is None:
        yield "detection.backend", 'found "yunet" without detection.yunet_model; name YuNet\'s .onnx file there'
    if detection.forget_after_s < detection.hold_s:
        yield (
            "detection.forget_after_s",
            f"found {detection.forget_after_s}, less than detection.hold_s ({detection.hold_s}); a face cannot be "
            "reported for longer than it is remembered",
        )
    mqtt = config.outputs.mqtt
    if mqtt.password is not None and mqtt.password_file is not None:
        yield "outputs.mqtt.password", "found beside outputs.mqtt.password_file; drop one"
    if (mqtt.password or mqtt.password_file) and mqtt.username is None:
        yield "outputs.mqtt.username", "unset although there is a password; name the user"
    if mqtt.key_file is not None and mqtt.certificate_file is None:
        yield "outputs.mqtt.certificate_file", "unset although there is a key_file; name the certificate"
    web = config.outputs.web
    if "web" in config.outputs.enabled and web.token_file is None and not is_loopback(web.host):
        yield (
            "outputs.web.host",
            f'found "{web.host}", which others can reach, without outputs.web.token_file; name a file with a token',
        )


def refusals(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the complaint for whatever a part of the runtime refuses; nothing is opened.

    A source or an output that does not exist has to be a fault of the configuration: a service that only found out
    when it starts its parts would be restarted by systemd for ever.
    """
    # They bring OpenCV along, which whoever runs the configuration needs anyway.
    from fer_edge.configuration.settings import output_settings, source_settings
    from fer_edge.contract.labels import LABELS
    from fer_edge.model_store import find_model
    from fer_edge.outputs import parse_output
    from fer_edge.sources import open_source

    try:
        open_source(config.source.spec, source_settings(config))
    except FerEdgeError as error:
        yield "source.spec", str(error)
    if config.model.name != Config().model.name:
        try:
            find_model(config.model.name)
        except FerEdgeError as error:
            yield "model.name", str(error)
    try:
        settings = output_settings(config, LABELS, finite=False)
    except FerEdgeError as error:
        yield "outputs.enabled", str(error)
        return
    for spec in config.outputs.enabled:
        try:
            parse_output(spec, settings)
        except FerEdgeError as error:
            yield "outputs.enabled", str(error)
        except ImportError as error:
            yield "outputs.enabled", f"the output {spec!r} needs {error.name}, which is not installed; drop one"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"
