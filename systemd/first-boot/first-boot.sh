#!/bin/bash
# Installs fer-edge from the folder that this file lies in, which `fer-edge image bundle` made and somebody copied to the
# boot partition of a freshly flashed card. Needs neither a network nor a keyboard.
#
#   first-boot.sh arm [--start]   make a unit that does "install" at each boot until it has succeeded
#   first-boot.sh install         what that unit does
#   first-boot.sh image           install into an image that is being built; there nothing is started or removed
#
# A power cut may come at any moment: each step can be done again, and the unit goes only after the last of them. What
# happens is written to fer-edge-first-boot.log on the boot partition, where any PC can read it.
set -euo pipefail

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
boot="$(dirname "$here")"
log="$boot/fer-edge-first-boot.log"
unit=fer-edge-first-boot.service
units=/etc/systemd/system

say() { printf 'first boot: %s\n' "$*"; }
die() {
    printf 'first boot: error: %s\n' "$*"
    exit 1
}

# Write what comes in to the log, line by line and with the time, and pass it on. The log may be on a card that is full or
# read-only: then the journal alone has it.
record() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line"
        printf '%(%F %T)T  %s\n' -1 "$line" >>"$log" || true
    done 2>/dev/null
    sync -f "$boot" || true
}

# --- arm ---

# The questions of Raspberry Pi OS on the console ("please enter a new username") would wait for a keyboard.
ask_nothing() {
    [[ -e /usr/lib/systemd/system/userconfig.service || -e $units/userconfig.service ]] || return 0
    systemctl disable --quiet userconfig.service || true
    systemctl stop --no-block userconfig.service || true
    systemctl enable --quiet getty@tty1.service || true
}

arm() {
    if [[ -e $here/finished ]]; then # a power cut while the folder was being removed
        remove_bundle
        return
    fi
    cat >"$units/.$unit.new" <<END
[Unit]
Description=Installation of fer-edge from the boot partition
ConditionPathExists=$here/first-boot.sh
RequiresMountsFor=$boot
After=systemd-udevd.service dbus.socket

[Service]
# Not "oneshot": the console and ssh are not to wait for it.
Type=exec
ExecStart=/bin/bash $here/first-boot.sh install
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
END
    mv "$units/.$unit.new" "$units/$unit"
    mkdir -p "$units/multi-user.target.wants"
    ln -sfn "../$unit" "$units/multi-user.target.wants/$unit"
    sync -f "$units"
    ask_nothing
    [[ ${1:-} == --start ]] || return 0
    systemctl daemon-reload
    systemctl start --no-block "$unit"
}

# --- install ---

check_bundle() {
    local fault
    fault="$(cd "$here" && LC_ALL=C sha256sum --check --quiet SHA256SUMS 2>&1)" ||
        die "damaged on this card: $(head -n 1 <<<"$fault"); copy the bundle to the boot partition again"
}

# .deb packages that came with the bundle, by an apt that knows of nothing else; what is there in a newer version stays.
install_debs() {
    local options lists=/run/fer-edge-first-boot
    [[ -f $here/debs/Packages ]] || return 0
    say "installing the packages of the bundle"
    mkdir -p "$lists/lists/partial"
    echo "deb [trusted=yes] file:$here/debs ./" >"$lists/sources.list"
    options=(-o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$lists/lists"
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
    # A power cut in the middle leaves packages unpacked, but not set up.
    dpkg --configure -a || true
    # shellcheck disable=SC2046  # one word a package
    if ! { apt-get "${options[@]}" --quiet=2 update &&
        env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" --quiet=2 --yes --no-install-recommends \
            install $(cat "$here/debs/wanted") >/dev/null; }; then
        say "warning: they cannot be installed; recognition goes on without them"
    fi
    rm -rf "$lists"
}

# This card is for a kiosk: a desktop would hold the screen.
give_screen_to_kiosk() {
    [[ $KIOSK == yes && -e $units/display-manager.service ]] || return 0
    say "a desktop is installed: from now on this machine starts without it"
    systemctl set-default --quiet multi-user.target
    systemctl stop --no-block display-manager.service
}

install_service() {
    local options=(--wheelhouse "$here/wheels" --upgrade)
    [[ ! -f $here/config.toml || -e /etc/fer-edge/config.toml ]] || options+=(--config "$here/config.toml")
    [[ $KIOSK == no ]] || options+=(--kiosk)
    [[ -d /run/systemd/system ]] || options+=(--no-start)
    bash "$here/installer/install.sh" "${options[@]}"
}

install_models() {
    local model
    [[ -d $here/models ]] || return 0
    install -d -o fer-edge -g fer-edge -m 750 /var/lib/fer-edge /var/lib/fer-edge/models
    for model in "$here"/models/*.tflite; do
        install -o fer-edge -g fer-edge -m 640 "$model" /var/lib/fer-edge/models/
    done
    [[ -z $MODEL ]] || /opt/fer-edge/current/bin/fer-edge model use "/var/lib/fer-edge/models/$MODEL"
}

missing_programs() {
    local program
    [[ $KIOSK == yes ]] || return 0
    for program in cage chromium; do
        command -v "$program" >/dev/null || [[ $program == chromium && -x /usr/bin/chromium-browser ]] ||
            say "warning: $program is missing: the kiosk shows a status line instead of the page; with a network, run" \
                "sudo apt install cage xwayland chromium"
    done
}

steps() {
    # shellcheck source=/dev/null
    source "$here/settings.sh"
    say "fer-edge $VERSION for $RELEASE, on $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release | tr -d '"')"
    check_bundle
    [[ $SSH == no ]] || systemctl enable --now ssh.service || say "warning: ssh.service cannot be started"
    install_debs
    give_screen_to_kiosk
    install_service
    install_models
    missing_programs
    say "done: fer-edge.service is $(systemctl is-active fer-edge.service)"
}

install_into_image() {
    # shellcheck source=/dev/null
    source "$here/settings.sh"
    check_bundle
    install_service
    install_models
    missing_programs
}

install_and_clean() {
    local status
    if [[ ! -e $here/finished ]]; then
        set +e # the status of the first part is what counts
        (
            set -e
            steps
        ) 2>&1 | record
        status=${PIPESTATUS[0]}
        set -e
        if [[ $status != 0 ]]; then
            say "not finished (status $status); tried again at the next boot" | record
            exit 1
        fi
    fi
    remove_bundle
}

# --- clean ---

# Overwrite a file of cloud-init's by one that asks for nothing. Without any cloud-init would take this for another machine.
neutralise() {
    [[ -f $boot/$1 ]] || return 0
    printf '%s\n# fer-edge was installed from here; see fer-edge-first-boot.log\n' "$2" >"$boot/$1.new"
    mv "$boot/$1.new" "$boot/$1"
}

# Secrets first, then what takes room, then the unit; this file and the mark that all is done go last.
remove_bundle() {
    # The mark lies on another file system than what was installed: it may not be the first of the two to last.
    sync -f "$units"
    : >"$here/finished"
    sync -f "$here"
    rm -f "$here/settings.sh" "$boot/firstrun.sh"
    if [[ -f $boot/user-data && -f $here/uses-cloud-init ]]; then
        neutralise user-data '#cloud-config'
        neutralise network-config '# no network configuration'
    fi
    sync -f "$boot"
    find "$here" -mindepth 1 -maxdepth 1 ! -name first-boot.sh ! -name finished -exec rm -rf {} +
    rm -f "$boot/FER-EDGE-README.txt" "$units/multi-user.target.wants/$unit" "$units/$unit"
    sync -f "$units"
    [[ ! -d /run/systemd/system ]] || systemctl daemon-reload
    rm -rf "$here"
    sync -f "$boot"
}

case ${1:-} in
arm) arm "${2:-}" ;;
install) install_and_clean ;;
image) install_into_image ;;
*) die "usage: first-boot.sh arm [--start] | install | image" ;;
esac
exit # bash reads on otherwise, and this file is gone
