"""The Wi-Fi network that a card is to join, with its key in place of the passphrase."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from fer_edge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Wifi:
    """A WPA2 network, or one of WPA2 and WPA3 in mixed mode.

    Attributes:
        ssid: name of the network, 1 to 32 bytes of UTF-8.
        psk: its pairwise master key, 64 hexadecimal digits. The passphrase cannot be read back from it, and it opens
            this one network only.
        country: two letters (ISO 3166); radios are off until it is known which channels are allowed.
        hidden: whether the network does not announce its name.
    """

    ssid: str
    psk: str
    country: str
    hidden: bool = False


def wifi_network(ssid: str, passphrase: str, country: str, *, hidden: bool = False) -> Wifi:
    """Check what a person typed and derive the key.

    Args:
        ssid: name of the network.
        passphrase: 8 to 63 printable ASCII characters, or the key itself as 64 hexadecimal digits.
        country: two letters, in any case.
        hidden: whether the network does not announce its name.

    Raises:
        UsageError: if one of them cannot be right.
    """
    if not 1 <= len(ssid.encode()) <= 32 or not ssid.isprintable():
        raise UsageError(f"--wifi {ssid!r}: the name of a network has 1 to 32 bytes, all printable")
    if not re.fullmatch("[A-Za-z]{2}", country):
        raise UsageError(f"--wifi-country {country!r}: give the two letters of the country, such as DE, GB or US")
    if re.fullmatch("[0-9A-Fa-f]{64}", passphrase):
        return Wifi(ssid, passphrase.lower(), country.upper(), hidden)
    if not re.fullmatch("[ -~]{8,63}", passphrase):
        raise UsageError(
            "the Wi-Fi passphrase cannot be right: it has 8 to 63 ASCII characters "
            f"(this one: {len(passphrase)}), or 64 hexadecimal digits if it is the key"
        )
    return Wifi(ssid, wpa_psk(ssid, passphrase), country.upper(), hidden)


def wpa_psk(ssid: str, passphrase: str) -> str:
    """Return the pairwise master key of a WPA2 network as 64 hexadecimal digits.

    PBKDF2 with HMAC-SHA1, the SSID as salt, 4096 rounds and 256 bits: IEEE 802.11-2020, annex J.4.
    """
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode("ascii"), ssid.encode(), 4096, 32).hex()


def keyfile_ssid(ssid: str) -> str:
    """Return an SSID as NetworkManager's keyfile format has it: as text, or byte by byte if that could be misread."""
    if re.fullmatch(r"[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?", ssid):
        return ssid
    return "".join(f"{byte};" for byte in ssid.encode())
