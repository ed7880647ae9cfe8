# The context is made by build.py: `root` holds /usr/local/bin/redis-server, the libraries it is linked to, and /tmp.
FROM scratch
COPY root/ /
ENTRYPOINT ["/usr/local/bin/redis-server"]
