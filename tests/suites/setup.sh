#!/usr/bin/env bash
# Gets PostgreSQL's own test suites: the source of the version that is installed, and what of it has to be compiled.
#
# tests/setup.sh calls it. All of it goes into target/test-suites; the machine's package lists stay as they are, the
# source comes through lists of our own. Quick when it is there already.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
place=$root/target/test-suites

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# As tests/common/cluster.rs chooses: the newest that is installed.
major=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' | cut -d/ -f5 | sort -n | tail -n 1)
package=postgresql-$major
version=$(dpkg-query -W -f '${Version}' "$package") || die "$package is not a package of this system"
libpq=$(dpkg-query -W -f '${Version}' libpq5)

# The stamp names what is there; another version, or another way to build it, another stamp.
stamp="$package $version, libpq $libpq, $(sha256sum <"$0" | cut -d' ' -f1)"
[ "$(cat "$place/stamp" 2>/dev/null || true)" = "$stamp" ] && exit 0

say "getting the tests of $package $version into target/test-suites"
rm -rf "$place"
mkdir -p "$place"/{apt/parts,apt/lists/partial,apt/cache/archives/partial,deb,work}

# The machine's own sources, as sources of source packages too. Where there are none (a repository without them),
# apt warns and goes on.
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$list" ] || continue
    sed -n 's/^deb \(.*\)$/deb \1\ndeb-src \1/p' "$list" >"$place/apt/parts/${list##*/}"
done
for list in /etc/apt/sources.list.d/*.sources; do
    [ -f "$list" ] || continue
    sed 's/^Types:.*$/Types: deb deb-src/' "$list" >"$place/apt/parts/${list##*/}"
done
own=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$place/apt/parts"
    -o "Dir::State::Lists=$place/apt/lists" -o "Dir::Cache=$place/apt/cache" -o APT::Sandbox::User=root)
apt-get "${own[@]}" update -qq || say 'not every package list could be read'

# Headers and static libraries are taken out of their packages: installing these would bring a whole LLVM.
cd "$place/deb"
apt-get "${own[@]}" source -qq --download-only "$package=$version" >/dev/null ||
    die "no source of $package $version; is the installed version still the archive's? (apt-get upgrade)"
apt-get "${own[@]}" download -qq "postgresql-server-dev-$major=$version" "libpq-dev=$libpq"
for deb in *.deb; do dpkg-deb -x "$deb" "$place/dev"; done
tar -xf "$package"_*.orig.tar.* -C "$place/work" --strip-components=1 --wildcards \
    '*/src/test/regress' '*/src/test/modules/libpq_pipeline'
mv "$place/work/src/test/regress" "$place/regress"
mv "$place/work/src/test/modules/libpq_pipeline" "$place/pipeline"

say 'compiling regress.so and libpq_pipeline'
include=$place/dev/usr/include/postgresql
flags=(-O1 -w -D_GNU_SOURCE "-I$include/$major/server" "-I$include/internal" "-I$include")
libraries=$place/dev/usr/lib/postgresql/$major/lib
cc "${flags[@]}" -fPIC -shared -fno-strict-aliasing -fwrapv -o "$place/regress/regress.so" \
    "$place/regress/regress.c"
# The program sets a parameter that servers since PostgreSQL 16 have under another name: once more for these.
cd "$place/pipeline"
sed 's/force_parallel_mode/debug_parallel_query/' libpq_pipeline.c >libpq_pipeline_newer.c
for program in libpq_pipeline libpq_pipeline_newer; do
    cc "${flags[@]}" -o "$program" "$program.c" "-L$libraries" -l:libpgcommon.a -l:libpgport.a -l:libpq.so.5
done

cd "$root"
rm -rf "$place"/{apt,deb,dev,work}
echo "$stamp" >"$place/stamp"
