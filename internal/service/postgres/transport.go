package postgres

import (
	"crypto/tls"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
)

// TransportRisk says in words what is wrong with how a connection is protected on its way
// to another machine; nothing if it is encrypted to a server that is checked. Of several
// servers, and of the ways that sslmode leaves, the worst counts.
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
	notEncrypted = "it need not be encrypted"
	notVerified  = "it is encrypted, but nobody checks who answers"
)

func transportRisk(host string, config *tls.Config) string {
	switch {
	case isOfThisMachine(host):
		return ""
	case config == nil:
		return notEncrypted
	case config.InsecureSkipVerify && config.VerifyPeerCertificate == nil && config.VerifyConnection == nil: // not sslmode=verify-ca
		return notVerified
	default:
		return ""
	}
}

func isOfThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || host == "localhost" || ip != nil && ip.IsLoopback()
}
