#!/usr/bin/env bash
# Runs the engine's tests compiled for 64-bit ARM, on the NEON kernels, under the emulator QEMU.
#
#   benchmarks/aarch64/check.sh [--root FOLDER] [arguments of `cargo test`, for example --lib cpu::]
#
# It needs three things, and ends with SKIPPED and the reason where one is missing:
#   Rust's standard library for the target      rustup target add aarch64-unknown-linux-gnu
#   a C compiler that links for it              Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross
#   the emulator                                Debian: qemu-user (or qemu-user-static)
# On a processor of this kind it simply runs the tests.
#
# Where rustup cannot get the library: Debian has it as libstd-rust-dev of the architecture arm64, which fits Debian's own rustc
# of the same version only. Unpack (dpkg -x) rustc, cargo, libstd-rust-dev (amd64 and arm64), gcc, gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross, qemu-user, bash, coreutils and all that they depend on into a folder and name it with --root. The check
# then runs inside (chroot, as root), with the repository at /src and cargo's downloads at /cargo, offline.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=aarch64-unknown-linux-gnu

skip() {
    echo "SKIPPED: the NEON kernels are not tested: $1"
    exit 0
}

if [ "${1:-}" = --root ]; then
    root=$2
    shift 2
    [ "$(id -u)" = 0 ] || skip "--root needs the rights of root"
    [ -x "$root/usr/bin/cargo" ] || skip "no cargo in $root"
    cargo fetch --quiet --locked
    mkdir -p "$root/src" "$root/cargo" "$root/proc" "$root/dev" "$root/tmp"
    # The mounts belong to this call alone and end with it.
    exec unshare --mount bash -c '
        root=$1 source=$2 cargo=$3; shift 3
        mount --bind "$source" "$root/src" && mount --bind "$cargo" "$root/cargo" && mount --bind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp CARGO_HOME=/cargo CARGO_NET_OFFLINE=true \
            CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=gcc \
            chroot "$root" /usr/bin/bash /src/benchmarks/aarch64/check.sh "$@"' \
        bash "$root" "$PWD" "${CARGO_HOME:-$HOME/.cargo}" "$@"
fi

if [ "$(uname -m)" = aarch64 ]; then
    exec cargo test --release --locked -p segfit-engine "$@"
fi
libraries=$(rustc --print target-libdir --target "$target" 2> /dev/null) || skip "rustc does not know $target"
compgen -G "$libraries/libstd-*" > /dev/null || skip "no standard library of Rust for $target"
linker=$(command -v aarch64-linux-gnu-gcc) || skip "no aarch64-linux-gnu-gcc"
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || skip "no qemu-aarch64"
system=$("$linker" -print-sysroot)
# Debian's cross compiler says /, its libraries for the target are in a folder of their own.
[ -e "$system/lib/ld-linux-aarch64.so.1" ] || system=/usr/aarch64-linux-gnu
[ -e "$system/lib/ld-linux-aarch64.so.1" ] || skip "no C library for $target"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator -L $system"
# Its own folder: another compiler than usual may be at work.
exec cargo test --release --locked -p segfit-engine --target "$target" --target-dir target/aarch64 "$@"
