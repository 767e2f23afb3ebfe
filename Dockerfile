FROM golang:1.26.8-bookworm AS build
WORKDIR /src
# Before the sources, so that a change of code does not download the modules again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Without cgo the binary needs no libc, which the final image does not have.
RUN CGO_ENABLED=0 go build -trimpath -o /wallet ./cmd/wallet

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /wallet /wallet
ENTRYPOINT ["/wallet"]
CMD ["worker"]
