"""What the card reads first: cloud-init's three files, and the settings of first-boot.sh and firstrun.sh."""

from __future__ import annotations

import json
import re
import shlex
from typing import Final

from fer_edge.bundle.network import keyfile_ssid
from fer_edge.bundle.options import BundleOptions
from fer_edge.errors import UsageError

GROUPS: Final = ("adm", "audio", "gpio", "i2c", "input", "netdev", "render", "spi", "sudo", "video")
"""Groups of Raspberry Pi OS's first user that still mean something on a kiosk."""

CMDLINE_WORDS: Final = (
    "systemd.run=/boot/firmware/firstrun.sh",
    "systemd.run_success_action=reboot",
    "systemd.unit=kernel-command-line.target",
)
"""What cmdline.txt needs at its end for Bookworm's first boot, the way Raspberry Pi Imager does it. firstrun.sh takes
them out again."""

# Cards of Raspberry Pi OS have it in /boot/firmware; cloud-init says nowhere where it found its files.
_ARM: Final = (
    "for d in /boot/firmware /boot; do "
    "if [ -f $d/fer-edge/first-boot.sh ]; then exec bash $d/fer-edge/first-boot.sh arm --start; fi; done"
)


def user_data(options: BundleOptions) -> str:
    """Return cloud-init's user-data.

    The installation hangs on ``bootcmd``: it is done at each boot, so that a power cut in the first one does no harm,
    and before cloud-init waits for a network. Strings are JSON's, which YAML takes as they are.
    """
    lines = [
        "#cloud-config",
        "# Made by `fer-edge image bundle`. Read at the first boot; it is replaced when fer-edge is installed.",
        "bootcmd:",
        f"  - [sh, -c, {_yaml(_ARM)}]",
    ]
    if options.hostname:
        lines += [f"hostname: {_yaml(options.hostname)}", "manage_etc_hosts: true"]
    if (user := options.user) is not None:
        lines += ["users:", f"  - name: {_yaml(user.name)}", f"    groups: [{', '.join(GROUPS)}]"]
        lines += ["    shell: /bin/bash", f"    lock_passwd: {_yaml(not user.password_hash)}"]
        if user.password_hash:
            lines.append(f"    passwd: {_yaml(user.password_hash)}")
        else:
            lines.append('    sudo: "ALL=(ALL) NOPASSWD:ALL"')
        if user.ssh_keys:
            lines += ["    ssh_authorized_keys:", *(f"      - {_yaml(key)}" for key in user.ssh_keys)]
    return "\n".join([*lines, "ssh_pwauth: false", ""])


def meta_data(options: BundleOptions, digest: str) -> str:
    """Return cloud-init's meta-data; another bundle's ``digest`` makes cloud-init begin anew."""
    lines = [f"instance-id: fer-edge-{digest[:16]}", "# local: all is done before the network is up.", "dsmode: local"]
    lines += [f"local-hostname: {_yaml(options.hostname)}"] if options.hostname else []
    return "\n".join([*lines, ""])


def network_config(options: BundleOptions) -> str:
    """Return cloud-init's network-config: cable if there is one, and the Wi-Fi asked for; no boot waits for either."""
    lines = ["network:", "  version: 2", "  ethernets:", "    eth0:", "      dhcp4: true", "      optional: true"]
    if (wifi := options.wifi) is not None:
        lines += ["  wifis:", "    wlan0:", "      dhcp4: true", "      optional: true"]
        lines += [
            f"      regulatory-domain: {_yaml(wifi.country)}",
            "      access-points:",
            f"        {_yaml(wifi.ssid)}:",
        ]
        lines += ["          hidden: true"] if wifi.hidden else []
        # netplan takes 64 hexadecimal digits as the key that they are.
        lines.append(f"          password: {_yaml(wifi.psk)}")
    return "\n".join([*lines, ""])


def settings(options: BundleOptions, version: str) -> str:
    """Return the settings of first-boot.sh and firstrun.sh, as assignments for a shell.

    On releases with cloud-init host name, user and Wi-Fi are its business, and not repeated here.
    """
    user, wifi = options.user, options.wifi
    values = {
        "VERSION": version,
        "RELEASE": options.release.name,
        "KIOSK": "yes" if options.kiosk else "no",
        "MODEL": options.models[0].name if options.models else "",
        "SSH": "yes" if user is not None and user.ssh_keys else "no",
    }
    if not options.release.uses_cloud_init:
        values |= {
            "HOST_NAME": options.hostname,
            "USER_NAME": user.name if user else "",
            "USER_PASSWORD_HASH": user.password_hash if user else "",
            "SSH_KEYS": "\n".join(user.ssh_keys) if user else "",
            "WIFI_SSID": keyfile_ssid(wifi.ssid) if wifi else "",
            "WIFI_PSK": wifi.psk if wifi else "",
            "WIFI_COUNTRY": wifi.country if wifi else "",
            "WIFI_HIDDEN": "true" if wifi and wifi.hidden else "false",
        }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def changed_cmdline(text: str, name: str) -> str:
    """Return a card's cmdline.txt with the words that start firstrun.sh; words of an earlier bundle are replaced.

    Raises:
        UsageError: if ``text`` is not the command line of a Raspberry Pi's kernel.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or not re.search(r"(^| )root=\S", lines[0]):
        raise UsageError(f"{name}: is not the cmdline.txt of a flashed card: one line with root=... is wanted")
    owned = ("systemd.run", "systemd.unit=kernel-command-line.target")
    kept = [word for word in lines[0].split() if not word.startswith(owned)]
    return " ".join([*kept, *CMDLINE_WORDS]) + "\n"


def _yaml(value: str | bool) -> str:
    return json.dumps(value, ensure_ascii=False)
