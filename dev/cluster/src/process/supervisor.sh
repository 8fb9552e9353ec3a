# Outlives the process that started it for a moment: when standard input closes (an exit, a panic, Ctrl-C or kill -9 of
# the parent all close it), it ends every process group it was told of and removes the directory.
# Usage: sh -c SCRIPT supervisor DIRECTORY; standard input takes lines "add PGID" and "del PGID".
trap '' HUP INT QUIT TERM
directory=$1
# Whatever PATH a test gives its parent.
PATH=$PATH:/bin:/usr/bin
mkdir -m 700 -- "$directory" || exit 1
echo ready
exec >/dev/null
groups=
while read -r verb group; do
    case $verb in
    add) groups="$groups $group" ;;
    del)
        rest=
        for g in $groups; do
            [ "$g" = "$group" ] || rest="$rest $g"
        done
        groups=$rest
        ;;
    esac
done
for g in $groups; do
    kill -s KILL -- "-$g" 2>/dev/null
done
# A killed process may finish a last write, so look again after the first removal.
n=0
while [ "$n" -lt 50 ]; do
    rm -rf -- "$directory" 2>/dev/null
    sleep 0.02
    [ -e "$directory" ] || break
    n=$((n + 1))
done
