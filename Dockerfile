# A static wsproxy and nothing else. The build needs BuildKit, which Docker has since 23.0:
#   docker build --build-arg VERSION=1.2.3 -t wsproxy .

FROM --platform=$BUILDPLATFORM golang:1.26.8-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.release=$VERSION" -o /out/wsproxy ./cmd/wsproxy
# A name for the user, for programs that look it up.
RUN echo "wsproxy:x:65532:65532::/:/" > /out/passwd

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="wsproxy" \
      org.opencontainers.image.description="A WebSocket proxy that shows what every connection does" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/wsproxy /wsproxy
USER 65532:65532
EXPOSE 8080 9900
STOPSIGNAL SIGTERM
# Asks the admin port on loopback: admin.address must have port 9900. With admin.tls override it, with "--admin", "https://127.0.0.1:9900" and
# "--insecure", or "--ca" and a file.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/wsproxy", "ready"]
ENTRYPOINT ["/wsproxy"]
CMD ["serve", "--config", "/etc/wsproxy/wsproxy.yaml"]
