# The context is made by build.py: `root` holds /nats-server, static, and /tmp.
FROM scratch
COPY root/ /
ENTRYPOINT ["/nats-server"]
