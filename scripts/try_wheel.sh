#!/usr/bin/env bash
# Build the wheel, install it outside the checkout with each Python given, and live with it: a cluster, a real pod, an end.
#     scripts/try_wheel.sh [PYTHON ...]        (default: python3; a path such as ~/.pyenv/versions/3.13.0/bin/python)
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
uv=$checkout/scripts/uv.sh
place=$(mktemp -d "${TMPDIR:-/tmp}/slipway-wheel.XXXXXX")
export SLIPWAY_HOME=$place/home PATH="$PATH:$checkout/.slipway/tools/bin"
unset PYTHONPATH VIRTUAL_ENV
name=wheel-$$
slipway=
finish() {
    [ -z "$slipway" ] || "$slipway" down "$name" >/dev/null 2>&1 || true
    rm -rf "$place"
}
trap finish EXIT

"$uv" build --quiet --wheel --out-dir "$place/dist" "$checkout"
for python in "${@:-python3}"; do
    python=$(command -v "$python")
    environment=$place/$($python -c 'import sys; print("python%d.%d.%d" % sys.version_info[:3])')
    "$uv" venv --quiet --no-project --python "$python" "$environment"
    "$uv" pip install --quiet --python "$environment/bin/python" "$place"/dist/*.whl
    slipway=$environment/bin/slipway
    cd "$place"   # nothing of the checkout is on the way
    "$slipway" up --name "$name" --nodes 1 --detach
    KUBECONFIG=$("$slipway" kubeconfig --path "$name")
    export KUBECONFIG
    kubectl wait --for=condition=Ready node --all --timeout=60s
    kubectl create deployment web --image=nginx
    kubectl rollout status deployment/web --timeout=60s
    [ "$(kubectl exec deployment/web -- echo inside)" = inside ]
    kubectl explain deployment.spec.strategy >/dev/null
    "$slipway" down "$name"
    echo "wheel works with $("$python" --version) ($(ls "$environment"/lib/python*/site-packages | grep -c 'dist-info$') packages)"
    slipway=
done
