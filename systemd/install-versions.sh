# shellcheck shell=bash disable=SC2154  # the variables are install.sh's
# The part of install.sh that builds, examines and changes versions below /opt/fer-edge; install.sh sources it.

pip_wheel() { if [[ -n $wheelhouse ]]; then compgen -G "$wheelhouse/pip-*.whl" | head -n 1; fi; }

# --- versions ---

# What an installation is made from: the same fingerprint, the same result.
fingerprint() {
    {
        # A changed runtime under the same version number is another one: the contents count, not the names.
        if [[ -n $wheelhouse ]]; then (cd "$wheelhouse" && sha256sum -- *.whl)
        elif [[ -f $here/../pyproject.toml ]]; then
            (cd "$here/.." && find pyproject.toml edge convert train -type f -not -name '*.pyc' -print0 |
                LC_ALL=C sort -z | xargs -0 sha256sum)
        else echo PyPI; fi
        # A venv belongs to the Python that made it.
        /usr/bin/python3 --version
        (cd "$here" && sha256sum -- *.service *.conf *.rules *.txt *.sh restart-pace kiosk-session)
    } | sha256sum | cut -d ' ' -f 1
}

in_force() { basename "$(readlink "$current" 2>/dev/null)" 2>/dev/null || true; }

next_number() {
    local version highest=0
    for version in "$home"/versions/*; do
        version="${version##*/}"
        if [[ $version =~ ^[0-9]+$ && $version -gt $highest ]]; then highest=$version; fi
    done
    echo $((highest + 1))
}

# Remove what earlier attempts left, and all but the version in force and the one before.
remove_old_versions() {
    local keep=("$@") version
    for version in "$home"/versions/*; do
        [[ -d $version && " ${keep[*]} " != *" ${version##*/} "* ]] || continue
        run rm -rf -- "$version"
    done
}

# Build what --wheelhouse or the source tree holds. Called in a condition, where "set -e" does not count.
build_version() {
    local target=$1 options=() pip=() wheel
    wheel="$(pip_wheel)"
    run install -d -m 755 "$home" "$home/versions" || return 1
    if [[ -n $wheel ]]; then
        run /usr/bin/python3 -m venv --system-site-packages --without-pip "$target" || return 1
        pip=("$target/bin/python" "$wheel/pip")
    else
        run /usr/bin/python3 -m venv --system-site-packages "$target" || return 1
        pip=("$target/bin/python" -m pip)
    fi
    options=(--no-cache-dir --disable-pip-version-check --no-input --quiet --constraint "$here/$constraints")
    if [[ -n $wheelhouse ]]; then
        # By name: the latest version in the wheelhouse wins, and pip checks that the wheels fit this machine.
        run "${pip[@]}" install --no-index --find-links "$wheelhouse" "${options[@]}" fer-edge || return 1
    elif [[ -f $here/../pyproject.toml ]]; then
        run "${pip[@]}" install "${options[@]}" "$here/.." || return 1
    else
        run "${pip[@]}" install "${options[@]}" fer-edge || return 1
    fi
    run install -d -m 755 "$target/share" || return 1
    run install -m 644 "$here"/*.{service,conf,rules,txt,toml,md} "$target/share/" || return 1
    run install -m 755 "$here"/{install.sh,install-versions.sh,restart-pace,kiosk-session} "$target/share/" || return 1
    [[ $dry_run == yes ]] || fingerprint >"$target/share/fingerprint" || return 1
    # A power cut after the change of version must not find empty files.
    run sync -f "$target"
}

# Let the new version examine this machine. Cameras, network and the like do not count: they may come later.
examine() {
    local target=$1 report
    [[ $dry_run == no ]] || { run "$target/bin/fer-edge" doctor --json && return; }
    report="$("$target/bin/fer-edge" doctor --json --config "$etc/config.toml")" || true
    # sys.argv: the report may be empty, if the program did not even start.
    /usr/bin/python3 - "$report" <<'END'
import json
import sys

DECISIVE = {"python", "architecture", "configuration", "numpy", "opencv", "face detector", "model"}
try:
    checks = json.loads(sys.argv[1])["checks"]
except (ValueError, KeyError):
    sys.exit("fer-edge: the new version's doctor gives no report")
by_name = {check["name"]: check for check in checks}
for name in sorted(DECISIVE - by_name.keys()):
    print(f"fer-edge: doctor: {name}: was not examined", file=sys.stderr)
bad = [check for name, check in by_name.items() if name in DECISIVE and check["status"] == "fail"]
for check in bad:
    print(f"fer-edge: doctor: {check['name']}: {check['found']}; {check['advice']}", file=sys.stderr)
sys.exit(1 if bad or DECISIVE - by_name.keys() else 0)
END
}

# Make version $1 the one in force; one rename, so that there is always a whole one.
switch_to() {
    run ln -sfn "versions/$1" "$home/.next"
    run mv -T "$home/.next" "$current"
    run sync -f "$home"
}
