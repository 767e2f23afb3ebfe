package postgres

import (
	"crypto/tls"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet/internal/service/loopback"
)

// TransportRisk says what is wrong with the protection of a connection to another machine; it
// is empty if the connection is encrypted and the server verified. With several servers, or
// several modes that sslmode allows, the worst counts.
func TransportRisk(config *pgx.ConnConfig) string {
	risk := transportRisk(config.Host, config.TLSConfig)
	for _, f := range config.Fallbacks {
		if other := transportRisk(f.Host, f.TLSConfig); other != "" && risk != notEncrypted {
			risk = other
		}
	}
	return risk
}

const (
	notEncrypted = "it may be unencrypted"
	notVerified  = "it is encrypted, but the server is not verified"
)

func transportRisk(host string, config *tls.Config) string {
	switch {
	case strings.HasPrefix(host, "/"), loopback.IsHost(host): // a Unix socket, or this machine
		return ""
	case config == nil:
		return notEncrypted
	case config.InsecureSkipVerify && config.VerifyPeerCertificate == nil && config.VerifyConnection == nil: // not sslmode=verify-ca
		return notVerified
	default:
		return ""
	}
}
