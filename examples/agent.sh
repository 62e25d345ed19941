#!/bin/sh
# The smallest honest agent in POSIX shell: it answers every request with the request itself.
#
# Its limits: it reads JSON with sed, relying on the form in which Frontdesk writes its messages ("id" first, then
# "method", then "params", with nothing between them); it answers one request after the other; it takes no notice of
# `cancel`; and it can't take a request apart. For anything more write the agent in a language that can read JSON.

while IFS= read -r line; do
    id=$(printf '%s\n' "$line" | sed -n 's/^{"jsonrpc":"2.0","id":\([0-9]*\),.*/\1/p')
    method=$(printf '%s\n' "$line" | sed -n 's/^{[^{]*"method":"\([a-z]*\)","params":.*/\1/p')
    case $method in
    initialize | ping) answer='"result":{}' ;;
    request) answer=$(printf '%s\n' "$line" | sed 's/^{[^{]*"params":{"REQUEST":\(.*\)}}$/"result":\1/') ;;
    shutdown) exit 0 ;;
    *) answer='"error":{"code":-32601,"message":"unknown method"}' ;;
    esac
    # What has no id, such as `cancel`, wants no answer.
    if [ -n "$id" ]; then
        printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$answer"
    fi
done
