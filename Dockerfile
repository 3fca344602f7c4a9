# Needs BuildKit (Docker 23 and later use it by default; else DOCKER_BUILDKIT=1):
# its cache mounts keep the compiled dependencies between builds.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && \
    cp target/release/stillframe /usr/local/bin/stillframe

FROM debian:bookworm-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --user-group --no-create-home stillframe && \
    install -d -o stillframe -g stillframe /var/lib/stillframe
COPY --from=build /usr/local/bin/stillframe /usr/local/bin/stillframe
COPY LICENSE /usr/share/doc/stillframe/LICENSE
USER stillframe
WORKDIR /var/lib/stillframe
# There is no Postgres in the image: give it a DATABASE_URL. Listening beyond
# loopback wants STILLFRAME_AUTH=true and a way in (STILLFRAME_ADMIN_KEY), see docs/security.md.
ENV STILLFRAME_LISTEN=0.0.0.0:19530 \
    STILLFRAME_DATA_DIR=/var/lib/stillframe
EXPOSE 19530
# Bash's own TCP, so that the image needs no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/19530 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["stillframe"]
CMD ["serve"]
