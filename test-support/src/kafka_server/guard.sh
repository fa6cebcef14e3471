# Runs a server that is gone when its test process is, however that ended, and after half an hour in any case:
# sh guard.sh PARENT FOLDER PROGRAM ARGUMENTS... The server takes this shell's place, and its process id.
parent=$1 folder=$2
shift 2
(
    seconds=0
    while kill -0 $$; do
        if ! kill -0 "$parent" || [ "$seconds" -gt 1800 ]; then
            kill -9 $$
            rm -rf "$folder"
            exit
        fi
        sleep 1
        seconds=$((seconds + 1))
    done
) >/dev/null 2>&1 &
exec "$@"
