#!/bin/bash
# Raspberry Pi OS Bookworm runs this at the first boot because cmdline.txt says systemd.run=/boot/firmware/firstrun.sh. It
# sets up host name, user, ssh key and Wi-Fi, leaves a unit that installs fer-edge at the next boot, takes its own words
# out of cmdline.txt, and the machine restarts. A power cut before that: all of it is done again.
#
# No "set -e": whatever fails is written down, and the machine still has to come up.
# shellcheck disable=SC2317  # step calls them
set -uo pipefail

boot="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
bundle="$boot/fer-edge"
log="$boot/fer-edge-first-boot.log"

say() { printf '%(%F %T)T  firstrun: %s\n' -1 "$*" | tee -a "$log"; }

step() {
    local what=$1
    shift
    if (
        set -e
        "$@"
    ) 2>&1 | while IFS= read -r line; do say "$line"; done; then say "$what: done"; else say "$what: FAILED"; fi
}

set_host_name() {
    echo "$HOST_NAME" >/etc/hostname
    hostname "$HOST_NAME" || true # where there is no such program, at the restart
    sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
    printf '127.0.1.1\t%s\n' "$HOST_NAME" >>/etc/hosts
}

make_user() {
    local group home groups=()
    if ! id "$USER_NAME" >/dev/null 2>&1; then
        if [[ -x /usr/lib/userconf-pi/userconf ]]; then
            # It gives Raspberry Pi OS's own user the name and the password; "*" is a password that nothing matches.
            /usr/lib/userconf-pi/userconf "$USER_NAME" "${USER_PASSWORD_HASH:-*}"
        else
            useradd --create-home --shell /bin/bash "$USER_NAME"
        fi
    fi
    usermod --password "${USER_PASSWORD_HASH:-*}" "$USER_NAME"
    for group in sudo adm video render audio input netdev gpio i2c spi; do
        ! getent group "$group" >/dev/null || groups+=("$group")
    done
    usermod --append --groups "$(
        IFS=,
        echo "${groups[*]}"
    )" "$USER_NAME"
    [[ -n $SSH_KEYS ]] || return 0
    home="$(getent passwd "$USER_NAME" | cut -d : -f 6)"
    install -d -m 700 -o "$USER_NAME" -g "$(id -g "$USER_NAME")" "$home/.ssh"
    printf '%s\n' "$SSH_KEYS" >"$home/.ssh/authorized_keys"
    chown "$USER_NAME:" "$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
}

# A user without a password cannot answer sudo's question for it.
allow_sudo() {
    install -d -m 750 /etc/sudoers.d
    (umask 337 && echo "$USER_NAME ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/010_fer-edge-user.new)
    mv /etc/sudoers.d/010_fer-edge-user.new /etc/sudoers.d/010_fer-edge-user
}

join_wifi() {
    local connections=/etc/NetworkManager/system-connections block
    install -d -m 755 "$connections"
    (
        umask 077
        cat >"$connections/.wifi.new" <<END
[connection]
id=wifi
type=wifi

[wifi]
mode=infrastructure
ssid=$WIFI_SSID
hidden=$WIFI_HIDDEN

[wifi-security]
key-mgmt=wpa-psk
psk=$WIFI_PSK

[ipv4]
method=auto

[ipv6]
method=auto
END
    )
    mv "$connections/.wifi.new" "$connections/wifi.nmconnection"
    # Without a country Raspberry Pi OS keeps Wi-Fi blocked.
    for block in /var/lib/systemd/rfkill/*:wlan; do
        [[ ! -e $block ]] || echo 0 >"$block"
    done
    ! command -v rfkill >/dev/null || rfkill unblock wifi || true
    grep -q 'cfg80211\.ieee80211_regdom=' "$boot/cmdline.txt" ||
        change_cmdline "s/\$/ cfg80211.ieee80211_regdom=$WIFI_COUNTRY/"
}

# Change the one line of cmdline.txt; a power cut leaves the old one or the new one.
change_cmdline() {
    sed "1$1" "$boot/cmdline.txt" >"$boot/cmdline.new"
    sync -f "$boot/cmdline.new"
    mv "$boot/cmdline.new" "$boot/cmdline.txt"
    sync -f "$boot"
}

main() {
    local attempts=0
    [[ ! -f $bundle/attempts ]] || read -r attempts <"$bundle/attempts"
    echo $((attempts + 1)) >"$bundle/attempts"
    say "attempt $((attempts + 1))"
    # shellcheck source=/dev/null
    source "$bundle/settings.sh"
    [[ -z $HOST_NAME ]] || step "host name" set_host_name
    if [[ -n $USER_NAME ]]; then
        step "user" make_user
        [[ -n $USER_PASSWORD_HASH ]] || step "sudo without a password" allow_sudo
    fi
    [[ -z $WIFI_SSID ]] || step "Wi-Fi" join_wifi
    # Three times at most: a machine that restarts for ever helps nobody.
    if bash "$bundle/first-boot.sh" arm || [[ $attempts -ge 2 ]]; then
        change_cmdline 's/ systemd\.run=[^ ]*//; s/ systemd\.run_success_action=[^ ]*//; s/ systemd\.run_failure_action=[^ ]*//; s/ systemd\.unit=kernel-command-line\.target//'
        rm -f "$boot/firstrun.sh"
        say "the installation follows after the restart"
    fi
    sync -f "$boot"
}

main
exit 0 # anything else, and systemd would switch the machine off
