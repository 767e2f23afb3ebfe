FROM golang:1.26.8-bookworm AS build
WORKDIR /src
# Before the sources, so that a code change does not download the modules again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What "wallet version" shows: docker build --build-arg VERSION=1.2.3 ...
ARG VERSION= COMMIT= DATE=
# Without cgo the binary needs no libc, which the final image does not have.
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE" -o /wallet ./cmd/wallet

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /wallet /wallet
ENTRYPOINT ["/wallet"]
CMD ["worker"]
