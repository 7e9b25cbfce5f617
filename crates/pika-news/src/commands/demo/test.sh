# Tests one of the two: `sh test.sh greeting` or `sh test.sh story`.
. ./settings.sh

case "$1" in
greeting)
    echo "the greeting is: $greeting"
    case "$greeting" in
    *world*) echo "ok: it names somebody" ;;
    *)
        echo "FAILED: the greeting names nobody"
        exit 1
        ;;
    esac
    ;;
story)
    step=1
    while [ "$step" -le "$steps" ]; do
        echo "step $step of $steps"
        sleep "$pause"
        step=$((step + 1))
    done
    echo "ok: the end"
    ;;
esac
