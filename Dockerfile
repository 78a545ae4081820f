# Pooler as a small image that runs without root.
#
#   docker build -t pooler .
#   docker run -d -p 6432:6432 -v ./pooler.toml:/etc/pooler/pooler.toml:ro pooler
#
# In the settings, listen_addr must be "0.0.0.0" (or "*"): the default lets in clients of the container only.
# There is no HEALTHCHECK: the image holds no shell and no HTTP client to run one. Let the orchestrator ask
# http://<container>:<metrics port>/healthz, with metrics_listen set.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin pooler

# glibc, the time zones and the CA certificates, and an account without rights (65532).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/pooler /usr/bin/pooler
COPY --from=build /build/pooler.toml.example /usr/share/doc/pooler/pooler.toml.example
USER 65532:65532
EXPOSE 6432
# SIGTERM lets transactions finish; give it time: docker stop --time 70.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/pooler"]
CMD ["/etc/pooler/pooler.toml"]
