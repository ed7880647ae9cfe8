# build.py makes the context: `root` contains /nats-server, static, and /tmp.
FROM scratch
COPY root/ /
ENTRYPOINT ["/nats-server"]
