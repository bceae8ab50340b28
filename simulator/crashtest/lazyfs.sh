#!/bin/sh
# Builds LazyFS, which forgets what was not synced, as the file given: lazyfs.sh OUT
# Needs git, g++ and the Debian packages fuse3 libfuse3-dev libspdlog-dev
# libtoml11-dev. LAZYFS_SOURCE names another repository, e.g. a mirror.
set -eu
out=$1
commit=a47a5baea559020f29902662de77764b0cbd62ce
source=${LAZYFS_SOURCE:-https://github.com/dsrhaslab/lazyfs}

missing=
for need in git=git g++=g++ fusermount3=fuse3; do
    command -v "${need%=*}" >/dev/null || missing="$missing ${need#*=}"
done
for need in /usr/include/fuse3/fuse.h=libfuse3-dev /usr/include/spdlog/spdlog.h=libspdlog-dev /usr/include/toml.hpp=libtoml11-dev; do
    [ -e "${need%=*}" ] || missing="$missing ${need#*=}"
done
if [ -n "$missing" ]; then
    echo "lazyfs: missing:$missing; run: apt-get install$missing" >&2
    exit 1
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git clone -q --filter=blob:none --no-checkout "$source" "$dir/src"
cd "$dir/src"
git checkout -q "$commit" -- lazyfs/src lazyfs/include libs/libpcache/src libs/libpcache/include
g++ -std=c++17 -O2 -w -D_FILE_OFFSET_BITS=64 -DSPDLOG_FMT_EXTERNAL -DSPDLOG_COMPILED_LIB \
    -Ilibs/libpcache/include -Ilazyfs/include -Ilazyfs/include/lazyfs -I/usr/include/fuse3 \
    $(find libs/libpcache/src -name '*.cpp') lazyfs/src/*.cpp lazyfs/include/lazyfs/fusepp/Fuse.cpp \
    -o "$dir/lazyfs" -lfuse3 -lspdlog -lfmt -lpthread
cd /
mkdir -p "$(dirname "$out")"
mv "$dir/lazyfs" "$out"
echo "lazyfs: built $out"
