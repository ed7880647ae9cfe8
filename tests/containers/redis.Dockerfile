# build.py makes the context: `root` contains /usr/local/bin/redis-server, the libraries it is linked to, and /tmp.
FROM scratch
COPY root/ /
ENTRYPOINT ["/usr/local/bin/redis-server"]
