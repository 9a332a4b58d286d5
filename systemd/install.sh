#!/bin/bash
# Installs fer-edge as a system service, upgrades it, and takes it away again. See README.md beside this file.
#
# Each installation is a virtual environment of its own, /opt/fer-edge/versions/N. The link /opt/fer-edge/current names
# the one in force; everything else (units, rules, the command) is a link through it. So changing to another version,
# and back, is one rename.
set -euo pipefail

usage() {
    cat <<'END'
usage: install.sh [OPTION]...

  --wheelhouse DIR  install from the wheels in DIR, without a network (must hold fer_edge-*.whl)
  --kiosk           also show the kiosk page on the screen at boot
  --config FILE     the configuration to begin with; one that is there is kept
  --upgrade         replace an installed version; go back to it if the new one does not work
  --no-start        do not start anything now (it is started at boot)
  --uninstall       take everything away but the configuration in /etc/fer-edge
  --purge           with --uninstall: the configuration, too
  --dry-run         show every step, do nothing
  --prefix DIR      work on the system below DIR instead of this one (for tests and images)
  --help            this text

Without --wheelhouse the package is built from the source tree that this file lies in, or else fetched from PyPI.
END
}

# --- words for the person at the terminal ---

say() { printf 'fer-edge: %s\n' "$*"; }
warn() { printf 'fer-edge: warning: %s\n' "$*" >&2; }
die() {
    printf 'fer-edge: error: %s\n' "$*" >&2
    exit 1
}
die_usage() {
    printf 'fer-edge: error: %s (--help explains)\n' "$*" >&2
    exit 2
}

# Do a step, or show it.
run() {
    if [[ $dry_run == yes ]]; then
        printf '+'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# --- arguments ---

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
# shellcheck source=install-versions.sh
source "$here/install-versions.sh"
action=install wheelhouse="" kiosk=no config="" upgrade=no start=yes purge=no dry_run=no prefix=""

needs_value() { [[ $# -ge 2 && -n $2 ]] || die_usage "$1 needs a value"; }

parse_arguments() {
    while [[ $# -gt 0 ]]; do
        case $1 in
        --wheelhouse) needs_value "$@" && wheelhouse=$2 && shift ;;
        --config) needs_value "$@" && config=$2 && shift ;;
        --prefix) needs_value "$@" && prefix=$2 && shift ;;
        --kiosk) kiosk=yes ;;
        --upgrade) upgrade=yes ;;
        --no-start) start=no ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --dry-run) dry_run=yes ;;
        --help | -h) usage && exit 0 ;;
        *) die_usage "$1 is no option" ;;
        esac
        shift
    done
    [[ $purge == no || $action == uninstall ]] || die_usage "--purge goes with --uninstall only"
    [[ -z $config || -f $config ]] || die "$config: there is no such file; name the configuration to begin with"
    if [[ -n $wheelhouse ]]; then
        [[ -d $wheelhouse ]] || die "$wheelhouse: there is no such folder; name one with fer_edge-*.whl in it"
        wheelhouse="$(cd "$wheelhouse" && pwd)"
        compgen -G "$wheelhouse/fer_edge-*.whl" >/dev/null || die "$wheelhouse: holds no fer_edge-*.whl"
    fi
    if [[ -n $prefix ]]; then
        [[ -d $prefix ]] || die "$prefix: there is no such folder"
        prefix="$(cd "$prefix" && pwd)"
        [[ $prefix != / ]] || prefix=""
    fi
}

# --- places ---

set_places() {
    home="$prefix/opt/fer-edge"
    current="$home/current"
    etc="$prefix/etc/fer-edge"
    state="$prefix/var/lib/fer-edge"
    command_link="$prefix/usr/local/bin/fer-edge"
    # link -> file in the version's share; always through "current", so that they change with it.
    links=(
        "etc/systemd/system/fer-edge.service=fer-edge.service"
        "etc/sysusers.d/fer-edge.conf=fer-edge.sysusers.conf"
        "etc/tmpfiles.d/fer-edge.conf=fer-edge.tmpfiles.conf"
        "etc/udev/rules.d/70-fer-edge.rules=70-fer-edge.rules"
        "etc/systemd/journald.conf.d/60-fer-edge.conf=journald.conf"
    )
    kiosk_links=(
        "etc/systemd/system/fer-edge-kiosk.service=fer-edge-kiosk.service"
        "etc/sysusers.d/fer-edge-kiosk.conf=fer-edge-kiosk.sysusers.conf"
    )
}

# Whether a systemd runs that is to know of this. Not so in an image being built, or below another prefix.
systemd_runs() { [[ -z $prefix && -d /run/systemd/system ]]; }

# --- what machine is this? ---

os_release() { { sed -n "s/^$1=//p" "$prefix/etc/os-release" 2>/dev/null || echo unknown; } | tr -d '"'; }

look_at_machine() {
    local python
    codename="$(os_release VERSION_CODENAME)"
    case "$(dpkg --print-architecture 2>/dev/null || uname -m)" in
    arm64 | aarch64 | amd64 | x86_64) ;;
    *) die "this system is not a 64-bit one; flash Raspberry Pi OS (64-bit): LiteRT and OpenCV have no 32-bit wheels" ;;
    esac
    [[ -x /usr/bin/python3 ]] || die "/usr/bin/python3 is missing; run  sudo apt install python3"
    python="$(/usr/bin/python3 -c 'import platform; print(platform.python_version())')"
    # By Python, not by name: a derivative has Debian's packages under a name of its own.
    case $python in
    3.11.*) constraints="constraints-bookworm.txt" ;;
    3.1[2-9].*) constraints="constraints-trixie.txt" ;;
    *) die "Python 3.11 or newer is needed, found $python; use Debian Bookworm or later" ;;
    esac
    raspberry=no
    [[ ! -e $prefix/etc/rpi-issue ]] || raspberry=yes
    say "$(os_release PRETTY_NAME), Python $python, $constraints"
}

wanted_packages() {
    # The pip in a wheelhouse needs no ensurepip, which is what python3-venv is for.
    [[ -n "$(pip_wheel)" ]] || echo python3-venv
    [[ $raspberry == no ]] || echo python3-picamera2
    if [[ $kiosk == yes ]]; then
        # cage does not start without Xwayland, and Bookworm's package does not say so.
        echo cage xwayland
        # Raspberry Pi OS Bookworm has its own build of Chromium under another name; either will do.
        if [[ -x /usr/bin/chromium || -x /usr/bin/chromium-browser ]]; then return
        elif [[ $raspberry == yes && $codename == bookworm ]]; then echo chromium-browser
        else echo chromium; fi
    fi
}

is_installed() { [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

install_packages() {
    local package missing=()
    [[ -z $prefix ]] || return 0
    for package in $(wanted_packages); do
        is_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]} with apt"
    if ! run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; then
        [[ " ${missing[*]} " != *" python3-venv "* ]] ||
            die "python3-venv cannot be installed; connect the network, or put pip's wheel into the wheelhouse"
        warn "${missing[*]} cannot be installed now; when the network is there, run  sudo apt install ${missing[*]}"
    fi
}

# --- the system around it ---

place_links() {
    local pair link
    for pair in "$@"; do
        link="$prefix/${pair%%=*}"
        run install -d -m 755 "$(dirname "$link")"
        run ln -sfn "/opt/fer-edge/current/share/${pair#*=}" "$link"
    done
}

place_configuration() {
    run install -d -m 755 "$etc"
    if [[ -e $etc/config.toml ]]; then
        [[ -z $config ]] || warn "$etc/config.toml is there and is kept; $config is not used"
        return 0
    fi
    run install -m 644 "${config:-$here/config.toml}" "$etc/config.toml"
}

# Users, directories, rules and units; harmless when repeated.
register() {
    local pairs=("${links[@]}")
    [[ $kiosk == no && ! -L $prefix/etc/systemd/system/fer-edge-kiosk.service ]] || pairs+=("${kiosk_links[@]}")
    place_links "${pairs[@]}"
    run install -d -m 755 "$(dirname "$command_link")"
    run ln -sfn /opt/fer-edge/current/bin/fer-edge "$command_link"
    [[ -z $prefix ]] || return 0
    run systemd-sysusers
    run systemd-tmpfiles --create /etc/tmpfiles.d/fer-edge.conf
    if systemd_runs; then
        run systemctl daemon-reload
        run systemctl try-restart systemd-journald.service
        if [[ -S /run/udev/control ]]; then
            run udevadm control --reload || true
            run udevadm trigger --subsystem-match=video4linux --subsystem-match=dma_heap || true
        fi
    fi
    run systemctl enable --quiet fer-edge.service
    if [[ $kiosk == yes ]]; then
        run systemctl enable --quiet fer-edge-kiosk.service
        [[ ! -e /etc/systemd/system/display-manager.service ]] ||
            warn "a desktop is installed and wants the screen, too; run  sudo systemctl set-default multi-user.target"
    fi
    # Whoever reads "done" may pull the plug.
    run sync -f /etc
}

# Start the version in force, and see that it is still up a few seconds later.
start_service() {
    [[ $start == yes ]] && systemd_runs || return 0
    run systemctl restart fer-edge.service || return 1
    [[ $dry_run == no ]] || return 0
    sleep 5
    [[ "$(systemctl is-active fer-edge.service)" == active ]] || return 1
    [[ "$(systemctl show --property=NRestarts --value fer-edge.service)" == 0 ]]
}

start_kiosk() {
    [[ $start == yes && $kiosk == yes ]] && systemd_runs || return 0
    run systemctl restart --no-block fer-edge-kiosk.service
}

# --- what a person asks for ---

install_service() {
    local former number target
    look_at_machine
    former="$(in_force)"
    if [[ -n $former && "$(cat "$current/share/fingerprint" 2>/dev/null)" == "$(fingerprint)" ]]; then
        say "this version is installed already, as $home/versions/$former"
        place_configuration
        install_packages
        register
        if systemd_runs && [[ $start == yes ]]; then run systemctl start fer-edge.service; fi
        start_kiosk
        return
    fi
    [[ -z $former || $upgrade == yes ]] || die "another version is installed; to replace it, add --upgrade"
    install_packages
    remove_old_versions "$former"
    number="$(next_number)"
    target="$home/versions/$number"
    say "building $target"
    place_configuration
    if ! build_version "$target" || ! examine "$target"; then
        rm -rf -- "$target"
        [[ -n $former ]] || die "the installation failed; nothing was started"
        die "the new version does not work here; version $former stays in force, nothing was changed"
    fi
    switch_to "$number"
    register
    if ! start_service; then
        show_failure
        [[ -n $former ]] || die "the service does not start; see  journalctl -u fer-edge -n 50"
        go_back_to "$former"
        rm -rf -- "$target"
        die "the new version does not run; version $former is in force again"
    fi
    start_kiosk
    remove_old_versions "$number" "$former"
    say "done: $target"
    if [[ $start == yes ]] && systemd_runs; then
        say "the dashboard is on http://127.0.0.1:8787/, the journal in  journalctl -u fer-edge -f"
    fi
}

show_failure() { journalctl --unit fer-edge.service --lines 15 --no-pager --output cat >&2 2>/dev/null || true; }

go_back_to() {
    switch_to "$1"
    register
    # It ran before; if it does not now, the reason lies elsewhere, and the journal tells.
    start_service || warn "version $1 does not start either; see  journalctl -u fer-edge -n 50"
}

uninstall_service() {
    local pair unit
    for unit in fer-edge-kiosk.service fer-edge.service; do
        [[ -z $prefix && -L /etc/systemd/system/$unit ]] || continue
        if systemd_runs; then run systemctl stop "$unit" || true; fi
        run systemctl disable --quiet "$unit" || true
    done
    for pair in "${links[@]}" "${kiosk_links[@]}"; do run rm -f -- "$prefix/${pair%%=*}"; done
    run rmdir --ignore-fail-on-non-empty "$prefix/etc/systemd/journald.conf.d" 2>/dev/null || true
    run rm -f -- "$command_link"
    run rm -rf -- "$home" "$state"
    [[ $purge == no ]] || run rm -rf -- "$etc" "$prefix/etc/systemd/system/fer-edge.service.d" \
        "$prefix/etc/systemd/system/fer-edge-kiosk.service.d"
    [[ -z $prefix ]] || return 0
    for unit in fer-edge-kiosk fer-edge; do
        ! getent passwd "$unit" >/dev/null || run userdel "$unit"
        ! getent group "$unit" >/dev/null || run groupdel "$unit"
    done
    if systemd_runs; then
        run systemctl daemon-reload
        run systemctl reset-failed fer-edge.service fer-edge-kiosk.service 2>/dev/null || true
        run systemctl try-restart systemd-journald.service
        [[ ! -S /run/udev/control ]] || run udevadm control --reload || true
    fi
    say "uninstalled; packages that apt installed stay"
    [[ $purge == yes || ! -d $etc ]] || say "the configuration stays in $etc; --purge removes it, too"
}

main() {
    parse_arguments "$@"
    set_places
    [[ $EUID -eq 0 || $dry_run == yes || -n $prefix ]] || die "this needs root; run it with sudo"
    umask 022
    if [[ $dry_run == no ]]; then
        # Two at a time would both build the same version.
        exec 9<"${prefix:-/}"
        flock --nonblock 9 || die "another install.sh is running"
    fi
    if [[ $action == uninstall ]]; then uninstall_service; else install_service; fi
}

main "$@"
