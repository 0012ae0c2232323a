#!/usr/bin/env bash
# Build the image without a Docker daemon, and try it as the user it runs as: `make image`, as root on a Debian.
#
# The base image is a stand-in that is made here of the same Debian and Python, because no registry need be reached. What
# this shows: the steps of the Dockerfile, the lock for running, the wheel, the user, the paths that the manifests name,
# exit codes, and every path that is written to. What it does not: the real base image, a read-only root file system
# (chroot isolation has none), GPUs, KubeRay.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in buildah mmdebstrap; do
    command -v "$tool" > /dev/null || { echo "skipped: $tool is not here (apt-get install buildah mmdebstrap)"; exit 0; }
done
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER="${STORAGE_DRIVER:-overlay}"
BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/autolabel:test
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Where pip finds packages and what it trusts are this machine's; the image keeps neither.
mounts=()
for path in /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" /etc/ssl/certs ${PIP_FIND_LINKS:-} ${EXTRA_MOUNTS:-}; do
    [ -e "$path" ] && mounts+=(--volume "$path:$path:ro")
done
settings=()
for name in $(compgen -e | grep '^PIP_' || true); do settings+=(--env "$name=${!name}"); done

if ! buildah inspect "$BASE" > /dev/null 2>&1; then
    mmdebstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$folder/rootfs.tar"
    base=$(buildah from scratch)
    buildah add "$base" "$folder/rootfs.tar" /
    buildah run "$base" -- sh -c 'ln -sf /usr/bin/python3 /usr/local/bin/python; ln -sf /usr/bin/pip3 /usr/local/bin/pip
        rm -f /usr/lib/python3.11/EXTERNALLY-MANAGED'
    buildah commit --rm "$base" "$BASE"
fi
buildah bud --network host --pull-never --layers=false "${mounts[@]}" "${settings[@]}" \
    --file k8s/image/Dockerfile --tag "$IMAGE" .

container=$(buildah from --pull-never "$IMAGE")
trap 'buildah rm "$container" > /dev/null; rm -rf "$folder"' EXIT
inside() { buildah run --user 1000:1000 --env RAY_AUTH_MODE=token --env RAY_AUTH_TOKEN=of-this-try "$container" -- "$@"; }
expect() { # exit code, then a command
    local code=0
    inside "${@:2}" || code=$?
    [ "$code" = "$1" ] || { echo "exit code $code, not $1: ${*:2}"; exit 1; }
}

inside touch /tmp/began
expect 0 autolabel demo-scenes output.uri=/tmp/try/scenes count=4 seed=7
printf 'input.uri=/tmp/try/scenes\noutput.uri=/tmp/try/labels\nprompts=[circle, star]\n' > "$folder/overrides"
buildah copy --chown 1000:1000 "$container" "$folder/overrides" /tmp/overrides
expect 0 python k8s/image/with_overrides.py /tmp/overrides jobs/label.py
expect 0 autolabel verify output.uri=/tmp/try/labels
expect 2 autolabel label input.uri=/tmp/nowhere output.uri=/tmp/try/other 'prompts=[circle]'
expect 3 autolabel label input.uri=/tmp/try/scenes output.uri=/tmp/try/labels 'prompts=[heart]'
expect 0 sh -c 'ray start --head --num-cpus=2 --dashboard-host=127.0.0.1 > /dev/null && code=0
    ray job submit --address http://127.0.0.1:8265 --working-dir /opt/autolabel -- \
        python jobs/label.py input.uri=/tmp/try/scenes output.uri=/tmp/try/submitted "prompts=[circle]" || code=$?
    ray stop > /dev/null; exit $code'

# The manifests' root file system is read-only but for these; the other four are buildah's own.
written=$(inside find / -xdev -newer /tmp/began -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/tmp/*' \
    -not -path '/home/autolabel/*' -not -path '/dev/shm/*' -not -path /etc/hostname -not -path /etc/hosts \
    -not -path /etc/resolv.conf -not -path /run/.containerenv 2> /dev/null || true)
[ -z "$written" ] || { echo "written outside of the mounts: $written"; exit 1; }
echo "The image builds and works: labelled and verified as its user, exit codes 0, 2 and 3, a job submitted to its Ray."
